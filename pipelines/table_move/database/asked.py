"""Asked and got: what a statement of ours asked of a table of the application is compared with what stands there after
it, because triggers and rules of the installation may change rows, keep them, or write them elsewhere.

PostgreSQL by itself does what it is asked. So rows are only compared where something stands in between, which is looked
up after the statement: its lock on the table keeps triggers from coming and going until the transaction ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from psycopg2 import extensions, sql

from pipelines.table_move.database.queries import query
from pipelines.table_move.errors import NotAsAsked
from pipelines.table_move.pure.asked import Difference

_EVENTS = {"INSERT": (4, "3"), "DELETE": (8, "4"), "UPDATE": (16, "2")}  # bits of pg_trigger.tgtype, pg_rewrite.ev_type


def meddlers(cursor: extensions.cursor, table: sql.Identifier, event: str) -> list[str]:
    """The triggers and rules that fire in this session when rows of the table are inserted, updated or deleted."""
    bit, rule = _EVENTS[event]
    cursor.execute(query("asked.meddlers"), {"table": table.as_string(cursor), "bit": bit, "rule": rule})
    return [name for (name,) in cursor]


def require_as_asked(
    cursor: extensions.cursor,
    table: sql.Identifier,
    event: str,
    question: sql.Composable,
    values: Mapping[str, object] | None = None,
) -> None:
    """Ask after a statement, in its transaction. Raises NotAsAsked with what differs.

    question: the keys of the rows that are not as they were asked to be, and how they differ (see `Got`).
    """
    between = meddlers(cursor, table, event)
    if between:
        prove(cursor, table, event, question, values, between=between)


def prove(
    cursor: extensions.cursor,
    table: sql.Identifier,
    event: str,
    question: sql.Composable,
    values: Mapping[str, object] | None = None,
    *,
    between: list[str] | None = None,
) -> None:
    """The same, whatever stands in between."""
    cursor.execute(question, values)
    rows = cursor.fetchall()
    if rows:
        found = meddlers(cursor, table, event) if between is None else between
        raise _not_as_asked(Difference(table=".".join(table.strings), event=event, rows=rows, meddlers=found))


def require_count(cursor: extensions.cursor, table: sql.Identifier, event: str, *, asked: int, got: int) -> None:
    """Raises NotAsAsked where a table took another number of rows than it was given; which ones, nobody knows."""
    if got == asked:
        return
    found = Difference(table=".".join(table.strings), event=event, rows=(), meddlers=meddlers(cursor, table, event))
    raise NotAsAsked(
        f"{found.table} took {got} of {asked} rows of {event}.",
        keys=frozenset(),
        untouched="The transaction was rolled back.",
        next_step=f"{found.remedy} Then run the same command again.",
    )


@contextmanager
def require_no_more(cursor: extensions.cursor, table: sql.Identifier, event: str) -> Iterator[None]:
    """For one statement. Raises NotAsAsked where the table has more rows after it than it was given: those are in no
    map, and nobody would take them back."""
    with cursor.connection.cursor() as beside:  # what the statement returned is still to be read
        before = _rows_added(beside, table)
        yield
        more = _rows_added(beside, table) - before - (cursor.rowcount if event == "INSERT" else 0)
        if more > 0:
            found = Difference(
                table=".".join(table.strings), event=event, rows=(), meddlers=meddlers(beside, table, event)
            )
            raise NotAsAsked(
                f"{event} on {found.table} added {more} row{'s' if more > 1 else ''} that the move did not write.",
                keys=frozenset(),
                untouched="The transaction was rolled back.",
                next_step=f"{found.remedy} Then run the same command again.",
            )


def _rows_added(cursor: extensions.cursor, table: sql.Identifier) -> int:
    cursor.execute(query("asked.rows_added"), {"table": table.as_string(cursor)})
    return cursor.fetchone()[0]


def _not_as_asked(difference: Difference) -> NotAsAsked:
    return NotAsAsked(
        difference.sentence,
        keys=difference.keys,
        untouched="The transaction was rolled back.",
        next_step=f"{difference.remedy} Then run the same command again.",
    )
