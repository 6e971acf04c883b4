"""Changing references to what the map says, with their pre-images kept."""

from __future__ import annotations

from psycopg2 import extensions, sql

from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.connect import as_application
from pipelines.table_move.database.names import Names
from pipelines.table_move.errors import GateClosed
from pipelines.table_move.spec import Referencing


def rewire(cursor: extensions.cursor, attempt: Attempt) -> int:
    """Rewire every reference that holds an old value the map knows. Returns how many were changed.

    Raises LockNotAvailable (SQLSTATE 55P03) where somebody holds such a row, GateClosed where the result is not right.
    Our own output is never mapped again: what is looked up is the value before this transaction.
    """
    names = attempt.names
    # Texts that come out of casts have no statistics: a nested loop over whole tables would be planned for a few rows.
    cursor.execute("SET LOCAL enable_nestloop = off")
    cursor.execute(names.query("references.mark"))
    mark = {"mark": cursor.fetchone()[0]}
    cursor.execute(names.query("references.plan_changes"), {"run_id": attempt.run_id})
    if cursor.rowcount == 0:
        return 0
    cursor.execute("ANALYZE pipelines.reference_change")
    as_application(cursor, names.schema)
    for table in names.references:
        cursor.execute(names.query("references.lock_rows", **_table(names, table)), mark)
    cursor.execute(names.query("references.forget_overtaken"), mark)
    for table in names.references:
        cursor.execute(names.query("references.apply_changes", **_table(names, table)), mark)
    _prove(cursor, names, mark)
    cursor.execute(
        "SELECT count(*) FROM pipelines.reference_change WHERE move = %(move)s AND change_id > %(mark)s",
        {"move": names.key, **mark},
    )
    return cursor.fetchone()[0]


def late_references(cursor: extensions.cursor, names: Names) -> int:
    """How many references hold an old value that the map knows."""
    cursor.execute(names.query("references.late"))
    return cursor.fetchone()[0]


def _prove(cursor: extensions.cursor, names: Names, mark: dict[str, int]) -> None:
    """Plain counts on the result, before anybody sees it."""
    for question, sentence in (
        ("references.unapplied", "{} references do not hold their new value after the update."),
        ("references.without_home", "{} references would point to no row of their own owner."),
    ):
        cursor.execute(names.query(question), mark)
        count = cursor.fetchone()[0]
        if count:
            raise GateClosed(
                sentence.format(count),
                untouched="The switch was rolled back; old table and references are as they were.",
                next_step="Look at triggers on the referencing tables that change these columns, then run again.",
            )


def _table(names: Names, table: Referencing) -> dict[str, sql.Composable]:
    return {
        "table": names.table(table.table),
        "table_name": sql.Literal(table.table),
        "key": sql.Identifier(table.key),
        "assignments": sql.SQL(", ").join(
            sql.SQL("{0} = coalesce(n.{0}, r.{0})").format(sql.Identifier(column)) for column in table.columns
        ),
        "new_values": sql.SQL(", ").join(
            sql.SQL("(max(c.new_value) FILTER (WHERE c.column_name = {}))::{} AS {}").format(
                sql.Literal(column), names.type_of(table, column), sql.Identifier(column)
            )
            for column in table.columns
        ),
    }
