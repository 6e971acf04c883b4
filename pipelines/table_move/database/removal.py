"""The rows that the move inserted leave the target again, batch by batch, as far as they are as they were and nothing
refers to them. Undone by the copy of the next run."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2 import extensions

from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.back_names import BackNames, back_names
from pipelines.table_move.database.connect import as_application
from pipelines.table_move.database.load import REFUSED
from pipelines.table_move.database.locking import locking, persist
from pipelines.table_move.status import Milestone

_BATCH = 10_000  # rows of the map


def remove(attempt: Attempt) -> int:
    """Remove them, then note that the move is rolled back. Returns how many rows went."""
    with attempt.database.reading() as cursor:
        back = back_names(cursor, attempt.located, switched=False)
    removed, after = 0, None
    while True:
        rows, after = persist(attempt, lambda after=after: _remove_batch(attempt, back, after))
        removed += rows
        if after is None:
            return removed


def _remove_batch(attempt: Attempt, back: BackNames, after: str | None) -> tuple[int, str | None]:
    """One batch in one transaction; the last one moves on to the milestone. Returns the rows, and where to go on."""
    with locking(attempt) as cursor:
        attempt.hold_fence(cursor)
        cursor.execute(back.query("rollback.next_rows"), {"after": after, "rows": _BATCH})
        found = cursor.fetchone()
        if found is None:
            journal.reach(cursor, attempt.names.key, attempt.run_id, Milestone.ROLLED_BACK)
            return 0, None
        cursor.execute("SET LOCAL enable_nestloop = off")
        cursor.execute(back.query("rollback.removable_rows"), {"after": after, "last": found[0]})
        keys = [key for (key,) in cursor]
        as_application(cursor, attempt.names.schema)
        return _delete(cursor, back, keys), found[0]


def _delete(cursor: extensions.cursor, back: BackNames, keys: Sequence[str]) -> int:
    """Where the database refuses, in halves: a row that something still refers to stays."""
    if not keys:
        return 0
    cursor.execute("SAVEPOINT removal")
    try:
        cursor.execute(back.query("rollback.remove"), {"target_ids": list(keys)})
        removed = cursor.rowcount
    except REFUSED:
        cursor.execute("ROLLBACK TO SAVEPOINT removal")
        half = len(keys) // 2
        return 0 if not half else _delete(cursor, back, keys[:half]) + _delete(cursor, back, keys[half:])
    cursor.execute("RELEASE SAVEPOINT removal")
    return removed
