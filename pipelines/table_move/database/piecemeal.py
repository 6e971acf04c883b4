"""Rows that the installation may refuse: written at once, and where it refuses, in halves, down to the single row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from psycopg2 import DataError, Error, IntegrityError, extensions

from pipelines.table_move.database.server_error import is_raised
from pipelines.table_move.errors import NotAsAsked

Item = TypeVar("Item")

# What is no answer to a row: the connection, the state of the transaction, rights and names, room, locks, the server.
_OTHER = ("08", "25", "26", "28", "3D", "3F", "40", "42", "53", "54001", "55P", "55006", "57", "58", "F0", "XX")


def refuses_a_row(problem: Error) -> bool:
    """Whether the database will not take a row, whatever is tried: a constraint, a domain, a trigger, whose SQLSTATE is
    what its author likes."""
    if isinstance(problem, IntegrityError | DataError) or is_raised(problem):
        return True
    return bool(problem.pgcode) and not problem.pgcode.startswith(_OTHER)


def piecemeal(
    cursor: extensions.cursor,
    items: Sequence[Item],
    write: Callable[[Sequence[Item]], None],
    *,
    key: Callable[[Item], str] | None = None,
) -> list[tuple[Item, Error | NotAsAsked]]:
    """The items that the installation does not take, and why; all others are written.

    key: of an item, where one that is kept or changed instead of refused may be left out as well; without it such a one
        ends the transaction.
    """
    if not items:
        return []
    cursor.execute("SAVEPOINT piecemeal")
    try:
        write(items)
    except NotAsAsked as problem:
        if key is None:
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT piecemeal")
        aside, others = ([item for item in items if (key(item) in problem.keys) is left] for left in (True, False))
        return [*((item, problem) for item in aside), *piecemeal(cursor, others, write, key=key)]
    except Error as problem:
        if not refuses_a_row(problem):
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT piecemeal")
        if len(items) == 1:
            return [(items[0], problem)]
        half = len(items) // 2
        return [part for some in (items[:half], items[half:]) for part in piecemeal(cursor, some, write, key=key)]
    cursor.execute("RELEASE SAVEPOINT piecemeal")
    return []
