"""How often each owner refers to each value: what decides about owners. A working table, empty between runs."""

from __future__ import annotations

from pipelines.table_move.database.attempt import Attempt


def build_claims(attempt: Attempt, *, patience: float = 0) -> None:
    """How often each owner refers to each value, as of now."""
    with attempt.database.writing(patience=patience) as cursor:
        attempt.hold_fence(cursor)
        cursor.execute(attempt.names.query("copy.clear_claims"))
        if attempt.names.references:
            cursor.execute(attempt.names.query("copy.build_claims"))
        cursor.execute("ANALYZE pipelines.claim")


def clear_claims(attempt: Attempt) -> None:
    with attempt.database.writing() as cursor:
        attempt.hold_fence(cursor)
        cursor.execute(attempt.names.query("copy.clear_claims"))
