"""The verb `demo`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipelines.table_move.cli.call import Call, answer
from pipelines.table_move.cli.demonstration import Demo, ensure_demo
from pipelines.table_move.cli.options import AsJson, DatabaseUrl, LogFormat, Verbose
from pipelines.table_move.spec import Move


def add(app: typer.Typer, move: Move, demo: Demo) -> None:
    @app.command("demo")
    def make_demo(
        database_url: DatabaseUrl = None,
        reset: Annotated[
            bool | None,
            typer.Option("--reset", help="Throw the demonstration away and make it anew.", show_default=False),
        ] = None,
        rows: Annotated[
            int | None,
            typer.Option("--rows", help="Rows of the old table, when it is made."),
        ] = None,
        as_json: AsJson = None,
        log_format: LogFormat = None,
        verbose: Verbose = None,
    ) -> None:
        """(Re)create the embedded demonstration database. Refused when a URL is given."""
        options = {
            "database_url": database_url,
            "reset": reset,
            "rows": rows,
            "as_json": as_json,
            "log_format": log_format,
            "verbose": verbose,
        }
        answer(move, demo, options, _work, is_demo=True, asks_database=lambda _: False)


def _work(call: Call) -> Mapping[str, Any]:
    rows = call.demo.default_rows if call.settings.rows is None else call.settings.rows
    created = ensure_demo(call.database, call.demo, rows=rows, reset=call.settings.reset)
    call.console.line(
        f"Created: {rows:,} rows of {call.move.source.table}."
        if created
        else "It is there already; --reset makes it anew."
    )
    return {"created": created, "source_rows": rows if created else 0}
