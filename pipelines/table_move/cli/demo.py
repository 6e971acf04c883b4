"""The verb `demo`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipelines.table_move.cli.call import Call, Manner, answer
from pipelines.table_move.cli.demonstration import Demo, ensure_demo
from pipelines.table_move.cli.options import AsJson, DatabaseUrl, LogFormat, Verbose
from pipelines.table_move.errors import UsageProblem
from pipelines.table_move.spec import Move


def add(app: typer.Typer, move: Move, demo: Demo) -> None:
    @app.command("demo")
    def make_demo(
        database_url: DatabaseUrl = None,
        reset: Annotated[bool, typer.Option("--reset", help="Throw the demonstration away and make it anew.")] = False,
        rows: Annotated[
            int, typer.Option("--rows", min=0, help="Rows of the old table; another number than before needs --reset.")
        ] = demo.default_rows,
        as_json: AsJson = False,
        log_format: LogFormat = "text",
        verbose: Verbose = False,
    ) -> None:
        """(Re)create the embedded demonstration database. Refused when a URL is given."""
        manner = Manner(as_json=as_json, log_format=log_format, verbose=verbose)
        options = {"database_url": database_url}
        answer(move, demo, manner, options, lambda call: _work(call, rows=rows, reset=reset), create_demo=False)


def _work(call: Call, *, rows: int, reset: bool) -> Mapping[str, Any]:
    if not call.database.is_demo:
        raise UsageProblem(
            "`demo` makes the demonstration only, and a database URL is given.",
            untouched="Nothing was written.",
            next_step="Call it without --database-url and with DATABASE_URL unset.",
        )
    created = ensure_demo(call.database, call.demo, rows=rows, reset=reset)
    call.console.line(
        f"Created: {rows:,} rows of {call.move.source.table}."
        if created
        else "It is there already; --reset makes it anew."
    )
    return {"created": created, "source_rows": rows if created else 0}
