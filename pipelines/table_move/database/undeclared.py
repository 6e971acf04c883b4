"""References that nobody declared: keys of the source in other columns of the application's schema. A bounded sample,
read in a transaction of its own; what cannot be read in a few seconds is said to be unknown."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg2
from psycopg2 import extensions, sql

from pipelines.table_move.database.catalog import Located
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.queries import query
from pipelines.table_move.pure.surroundings import Undeclared

LONGEST = 5  # seconds
PAGES = 200  # of a larger table so many pages are read

_SAMPLES = {"value": "undeclared.of_value", "list": "undeclared.of_list", "json": "undeclared.of_json"}


@dataclass(frozen=True, kw_only=True)
class _Column:
    table: str
    name: str
    type: str
    pages: int
    kind: str


def undeclared_references(database: Database, located: Located) -> tuple[Undeclared, ...] | None:
    """None where it could not be seen in time, or not by our role."""
    try:
        with database.reading() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', '500ms', true)",
                (f"{LONGEST}s",),
            )
            return tuple(_look(cursor, located))
    except psycopg2.Error as problem:
        if problem.pgcode is None:
            raise  # the connection is lost
        return None


def _look(cursor: extensions.cursor, located: Located) -> list[Undeclared]:
    names, columns = located.names, _columns(cursor, located)
    if not columns:
        return []
    samples = sql.SQL("\n    UNION ALL\n    ").join(
        query(
            _SAMPLES[column.kind],
            place=sql.Literal(place),
            column=sql.Identifier(column.name),
            table=names.table(column.table),
            sample=_sample(column.pages),
        )
        for place, column in enumerate(columns)
    )
    cursor.execute(names.query("undeclared.found", samples=samples))
    return [
        Undeclared(
            table=f"{names.schema}.{columns[place].table}",
            column=columns[place].name,
            type=columns[place].type,
            sampled=sampled,
            rows=rows,
        )
        for place, sampled, rows in cursor.fetchall()
    ]


def _columns(cursor: extensions.cursor, located: Located) -> list[_Column]:
    facts, move = located.facts, located.names.move
    declared = [
        (facts.references[table.table].oid, column) for table in located.names.references for column in table.columns
    ]
    declared.append((facts.target.oid, move.target.key))
    values = {
        "schema": facts.schema,
        "source": facts.source.oid,
        "target": facts.target.oid,
        "tables": [oid for oid, _ in declared],
        "columns": [column for _, column in declared],
    }
    cursor.execute(query("undeclared.columns"), values)
    return [_Column(table=t, name=n, type=k, pages=p, kind=kind) for t, n, k, p, kind in cursor.fetchall()]


def _sample(pages: int) -> sql.Composable:
    if pages <= PAGES:
        return sql.SQL("")
    return sql.SQL("TABLESAMPLE SYSTEM ({}) REPEATABLE (1)").format(sql.Literal(100 * PAGES / pages))
