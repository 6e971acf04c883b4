"""The question that a verb asks once before it changes a real database, on a terminal; without one, what destroys needs
--yes."""

from __future__ import annotations

from pipelines.table_move.cli.call import Call
from pipelines.table_move.cli.terminal import on_a_terminal
from pipelines.table_move.errors import UsageProblem


def confirm(call: Call, question: str, *, destroys: bool = False) -> None:
    """question: with {rows} and {table}, which name server, database and role too. Raises UsageProblem without a yes.

    destroys: something is dropped for good, so that without a terminal --yes is needed.
    """
    if call.settings.yes or call.database.is_demo:
        return
    if not on_a_terminal():
        if destroys:
            raise UsageProblem(
                "This drops a table, and without a terminal nobody can be asked.",
                untouched="Nothing was written.",
                next_step="Give --yes.",
            )
        return
    from pipelines.table_move.database.patience import look_patiently
    from pipelines.table_move.database.world import look_where
    from pipelines.table_move.standing import look

    rows = look_patiently(call.database, lambda: look(call.database, call.move))["source_rows"]
    where = look_where(call.database, call.move)
    table = f"{call.database.schema}.{call.move.source.table} on {where.server.label}"
    if not call.console.ask(f"{where.world.sentence} {question.format(rows=f'{rows:,} rows', table=table)}"):
        raise UsageProblem("Not confirmed.", untouched="Nothing was written.", next_step="--yes skips the question.")
