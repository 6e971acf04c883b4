"""Referencing rows after an update: each holds what it was given, and in its other references what it held before.
Where nothing of the installation fires, PostgreSQL's word is enough, and nothing is noted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from psycopg2 import extensions, sql

from pipelines.table_move.database.asked import meddlers, prove
from pipelines.table_move.database.names import Names
from pipelines.table_move.spec import Referencing


@contextmanager
def rows_as_expected(
    cursor: extensions.cursor,
    names: Names,
    table: Referencing,
    planned: sql.Composable,
    values: Mapping[str, object],
    asked: sql.Composable = sql.SQL("true"),  # noqa: B008
) -> Iterator[None]:
    """Around an update of the table's rows. Raises NotAsAsked where one of them holds something else after it.

    planned: a query of `row_key` and, for the n-th column of the table, `new_n`: its new value, NULL where it has none.
    values: of that query. asked: which of these rows `r`, planned as `n`, are updated.
    """
    identifier = names.table(table.table)
    between = meddlers(cursor, identifier, "UPDATE")
    if not between:
        yield
        return
    parts = {"table": identifier, "key": sql.Identifier(table.key), "planned": planned, "asked": asked}
    cursor.execute(names.query("asked.expect", expected=_expected(table), **parts), values)
    yield
    with cursor.connection.cursor() as beside:  # what the update returned is still to be read
        question = names.query("asked.unexpected", differs=_differs(table), **parts)
        prove(beside, identifier, "UPDATE", question, between=between)
        beside.execute("DROP TABLE pg_temp.expected")


def _expected(table: Referencing) -> sql.Composable:
    found = [
        sql.SQL('coalesce(n.{}, r.{})::text COLLATE "C" AS {}').format(
            sql.Identifier(f"new_{n}"), sql.Identifier(column), sql.Identifier(f"value_{n}")
        )
        for n, column in enumerate(table.columns)
    ]
    if table.owner is not None:
        found.append(sql.SQL("r.{}::text AS owner").format(sql.Identifier(table.owner)))
    return sql.SQL(", ").join(found)


def _differs(table: Referencing) -> sql.Composable:
    pairs = [(column, f"value_{n}") for n, column in enumerate(table.columns)]
    if table.owner is not None:
        pairs.append((table.owner, "owner"))
    return sql.SQL(" OR ").join(
        sql.SQL('r.{}::text COLLATE "C" IS DISTINCT FROM e.{}').format(sql.Identifier(column), sql.Identifier(name))
        for column, name in pairs
    )
