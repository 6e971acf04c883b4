"""The question that a verb asks once before it changes a real database, on a terminal."""

from __future__ import annotations

import sys

from pipelines.table_move.cli.call import Call
from pipelines.table_move.errors import UsageProblem


def confirm(call: Call, question: str) -> None:
    """question: with {rows} and {table}, which name database and host as well. Raises UsageProblem without a yes."""
    if call.settings.yes or call.database.is_demo or not sys.stdin.isatty() or not sys.stderr.isatty():
        return
    from pipelines.table_move.database.patience import look_patiently
    from pipelines.table_move.standing import look

    rows = look_patiently(call.database, lambda: look(call.database, call.move))["source_rows"]
    table = f"{call.database.schema}.{call.move.source.table} on {call.database.label}"
    if not call.console.ask(question.format(rows=f"{rows:,} rows", table=table)):
        raise UsageProblem("Not confirmed.", untouched="Nothing was written.", next_step="--yes skips the question.")
