"""Changing references to what the map says, with their pre-images kept.

Before the switch, the pre-images are a plan: written while nobody has to wait, mended under the locks where something
has moved, carried out at once. From the switch's commit on they are history.
"""

from __future__ import annotations

from psycopg2 import extensions, sql

from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.connect import as_application
from pipelines.table_move.database.expected import rows_as_expected
from pipelines.table_move.database.names import Names
from pipelines.table_move.errors import GateClosed
from pipelines.table_move.spec import Referencing

# As good as NOWAIT, which UPDATE does not know: whoever holds a row that has to change makes us give up, not wait.
_NO_WAIT = "SET LOCAL lock_timeout = '10ms'"


def plan_changes(attempt: Attempt, *, since: int | None = None) -> None:
    """Write down what the switch will change.

    since: mend the plan for what has moved since then (see `versions`), with the rows in `touched`; None: make it anew.
    """
    names = attempt.names
    with attempt.database.writing() as cursor:
        attempt.hold_fence(cursor)
        if since is None:
            cursor.execute(names.query("references.forget_plan"))
            cursor.execute(names.query("references.forget_kept"))
            in_question = names.everything
        else:
            is_new, value = {"r_is_new": names.is_new("r", since)}, names.touched(sql.SQL("c.value"))
            old_value, in_question = names.touched(sql.SQL("c.old_value")), names.touched(sql.SQL("r.value"))
            cursor.execute(names.query("references.forget_touched_plan", c_in_question=old_value, **is_new))
            cursor.execute(names.query("references.forget_touched_kept", v_in_question=value, **is_new))
        _plan(cursor, attempt, in_question=in_question)
        cursor.execute(names.query("references.keep", r_in_question=in_question))
        if since is None:
            cursor.execute("ANALYZE pipelines.reference_change")


def carry_out(cursor: extensions.cursor, attempt: Attempt) -> int:
    """Change what was planned, in the transaction of the switch. Returns how many references were changed.

    Raises LockNotAvailable (SQLSTATE 55P03) where somebody holds such a row, GateClosed where the result is not right.
    """
    start = {"mark": 0}
    changed = _change(cursor, attempt, start)
    names = attempt.names
    _prove(cursor, names, start, dangling_allowed=attempt.settings.allow_dangling)
    return changed


def rewire(cursor: extensions.cursor, attempt: Attempt, *, in_question: sql.Composable | None = None) -> int:
    """Rewire every reference that holds an old value the map knows. Returns how many were changed.

    Our own output is never mapped again: what is looked up is the value before this transaction.
    in_question: which references `r`; None: all that have a row to follow to.
    """
    names = attempt.names
    cursor.execute(names.query("references.mark"))
    mark = {"mark": cursor.fetchone()[0]}
    _plan(cursor, attempt, in_question=in_question or names.query("references.has_a_row"))
    if cursor.rowcount == 0:
        return 0
    cursor.execute("ANALYZE pipelines.reference_change")
    changed = _change(cursor, attempt, mark)
    if changed:
        _prove(cursor, names, mark, dangling_allowed=True)
    return changed


def late_references(cursor: extensions.cursor, names: Names) -> int:
    """How many references hold an old value that the map knows, and have a row to follow to."""
    cursor.execute(names.query("references.late", r_has_a_row=names.query("references.has_a_row")))
    return cursor.fetchone()[0]


def _plan(cursor: extensions.cursor, attempt: Attempt, *, in_question: sql.Composable) -> None:
    # Texts that come out of casts have no statistics: a nested loop over whole tables would be planned for a few rows.
    cursor.execute("SET LOCAL enable_nestloop = off")
    plan = attempt.names.query("references.plan_changes", r_in_question=in_question)
    cursor.execute(plan, {"run_id": attempt.run_id})


def _change(cursor: extensions.cursor, attempt: Attempt, mark: dict[str, int]) -> int:
    names = attempt.names
    cursor.execute("SET LOCAL enable_nestloop = off")
    cursor.execute(_NO_WAIT)
    for table in names.references:
        parts = _table(names, table)
        with rows_as_expected(
            cursor, names, table, names.query("references.planned", **parts), mark, parts["untouched"]
        ):
            with as_application(cursor, names.schema):
                cursor.execute(names.query("application.apply_changes", **parts), mark)
            planned, changed = cursor.fetchone()
        if changed != planned:
            cursor.execute(names.query("references.forget_overtaken", table_name=sql.Literal(table.table)), mark)
    cursor.execute(names.query("references.changed"), mark)
    return cursor.fetchone()[0]


def _prove(cursor: extensions.cursor, names: Names, mark: dict[str, int], *, dangling_allowed: bool) -> None:
    """A plain count on the result, before anybody sees it."""
    cursor.execute(names.query("references.without_home", dangling_allowed=sql.Literal(dangling_allowed)), mark)
    count = cursor.fetchone()[0]
    if count:
        raise _not_right(f"{count} references would point to no row of {names.move.target.table} that is their own.")


def _not_right(happened: str) -> GateClosed:
    return GateClosed(
        happened,
        untouched="The transaction was rolled back; rows and references are as they were.",
        next_step="Look at triggers on the referencing tables that change these columns, then run again.",
    )


def _table(names: Names, table: Referencing) -> dict[str, sql.Composable]:
    columns = list(enumerate(table.columns))

    def each(text: str, between: str) -> sql.Composable:
        return sql.SQL(between).join(
            sql.SQL(text).format(
                column=sql.Identifier(column),
                name=sql.Literal(column),
                type=names.type_of(table, column),
                old=sql.Identifier("n", f"old_{number}"),
                new=sql.Identifier("n", f"new_{number}"),
                old_name=sql.Identifier(f"old_{number}"),
                new_name=sql.Identifier(f"new_{number}"),
            )
            for number, column in columns
        )

    return {
        "table": names.table(table.table),
        "table_name": sql.Literal(table.table),
        "key": sql.Identifier(table.key),
        "planned": each(
            "(pg_catalog.max(c.old_value) FILTER (WHERE c.column_name OPERATOR(pg_catalog.=) {name}))::{type}"
            " AS {old_name},"
            " (pg_catalog.max(c.new_value) FILTER (WHERE c.column_name OPERATOR(pg_catalog.=) {name}))::{type}"
            " AS {new_name}",
            ", ",
        ),
        "assignments": each("{column} = coalesce({new}, r.{column})", ", "),
        "untouched": each("({new} IS NULL OR r.{column} OPERATOR(pg_catalog.=) {old})", " AND "),
    }
