"""How often each owner refers to each value: what decides about owners. A working table, empty between runs."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg2 import extensions

from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.census import assigned_values
from pipelines.table_move.database.names import Names


def build_claims(attempt: Attempt) -> None:
    """How often each owner refers to each value, as of now."""
    with attempt.database.writing() as cursor:
        attempt.hold_fence(cursor)
        cursor.execute(attempt.names.query("copy.clear_claims"))
        cursor.execute(attempt.names.query("copy.build_claims"))
        cursor.execute("ANALYZE pipelines.claim")


def assign_owners(attempt: Attempt, owners: Mapping[str, str]) -> None:
    """Keep the owners that a person has named, by source id, in place of those of an earlier call."""
    with attempt.database.writing() as cursor:
        attempt.hold_fence(cursor)
        assign(cursor, attempt.names, owners)
        cursor.execute("ANALYZE pipelines.assigned_owner")


def assign(cursor: extensions.cursor, names: Names, owners: Mapping[str, str]) -> None:
    """The same in a transaction that is under way."""
    cursor.execute(names.query("copy.clear_assigned"))
    assigned = names.query("census.assigned_now")
    cursor.execute(names.query("copy.assign", assigned=assigned), assigned_values(owners))


def has_assigned(cursor: extensions.cursor, names: Names) -> bool:
    """Whether a person has named owners of single rows in an earlier call."""
    cursor.execute(names.query("copy.has_assigned"))
    return cursor.fetchone()[0]


def clear_working_tables(attempt: Attempt) -> None:
    """What is of use only within an attempt: claims, candidates, and what may have moved."""
    names = attempt.names
    with attempt.database.writing() as cursor:
        attempt.hold_fence(cursor)
        for name in ("copy.clear_claims", "adoption.clear", "catchup.untouch"):
            cursor.execute(names.query(name))
