"""References to rows of the new table become what they were in the old world, or would have been. Undo: the switch."""

from __future__ import annotations

from psycopg2 import extensions, sql

from pipelines.table_move.database.back_names import BackNames
from pipelines.table_move.database.connect import as_application
from pipelines.table_move.database.expected import rows_as_expected
from pipelines.table_move.errors import Blocked
from pipelines.table_move.spec import Referencing


def references_due(cursor: extensions.cursor, back: BackNames) -> int:
    """How many references have to change. Reads only."""
    if not back.names.references:
        return 0
    cursor.execute(back.query("rollback.count_back"))
    return cursor.fetchone()[0]


def references_back(cursor: extensions.cursor, back: BackNames) -> int:
    """Change them, under locks that keep writers of the referencing tables out. Returns how many.

    Raises LockNotAvailable (SQLSTATE 55P03) where somebody holds such a row, NotAsAsked or Blocked where the result is
    not right.
    """
    names = back.names
    if not names.references:
        return 0
    cursor.execute("SET LOCAL enable_nestloop = off")
    cursor.execute(back.query("rollback.note_back"))
    changed = cursor.rowcount
    if changed:
        cursor.execute("ANALYZE pg_temp.back")
        for table in names.references:
            cursor.execute(back.query("rollback.lock_rows", **_table(back, table)))
        for table in names.references:
            parts = _table(back, table)
            planned = back.query("rollback.planned_back", **parts)
            with rows_as_expected(cursor, names, table, planned, {}), as_application(cursor, names.schema):
                cursor.execute(back.query("application.apply_back", **parts))
        _prove(cursor, back)
    cursor.execute("DROP TABLE pg_temp.back")
    cursor.execute("SET LOCAL enable_nestloop = on")
    return changed


def _prove(cursor: extensions.cursor, back: BackNames) -> None:
    cursor.execute(back.query("rollback.unapplied"))
    count = cursor.fetchone()[0]
    if count:
        raise Blocked(
            f"{count} references do not hold their old value after the update.",
            untouched="The transaction was rolled back; references and rows are as they were.",
            next_step="Look at triggers on the referencing tables that change these columns, then run again.",
        )


def _table(back: BackNames, table: Referencing) -> dict[str, sql.Composable]:
    names = back.names
    return {
        "table": names.table(table.table),
        "table_name": sql.Literal(table.table),
        "key": sql.Identifier(table.key),
        "assignments": sql.SQL(", ").join(
            sql.SQL("{0} = coalesce(n.{1}, r.{0})").format(sql.Identifier(column), sql.Identifier(f"new_{n}"))
            for n, column in enumerate(table.columns)
        ),
        "old_values": sql.SQL(", ").join(
            sql.SQL(
                "(pg_catalog.max(b.old_value) FILTER (WHERE b.column_name OPERATOR(pg_catalog.=) {}))::{} AS {}"
            ).format(sql.Literal(column), names.type_of(table, column), sql.Identifier(f"new_{n}"))
            for n, column in enumerate(table.columns)
        ),
    }
