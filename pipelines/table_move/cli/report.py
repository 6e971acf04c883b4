"""The verb `report`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.table_move.cli.call import Call, answer
from pipelines.table_move.cli.demonstration import Demo
from pipelines.table_move.cli.options import AsJson, DatabaseUrl, LogFormat, ReportDir, Schema, Verbose
from pipelines.table_move.spec import Move


def add(app: typer.Typer, move: Move, demo: Demo | None) -> None:
    @app.command()
    def report(
        database_url: DatabaseUrl = None,
        schema: Schema = None,
        run_id: Annotated[int | None, typer.Option("--run", help="Which run. [default: the newest]")] = None,
        open_it: Annotated[
            bool | None, typer.Option("--open", help="Open it in a browser.", show_default=False)
        ] = None,
        report_dir: ReportDir = None,
        as_json: AsJson = None,
        log_format: LogFormat = None,
        verbose: Verbose = None,
    ) -> None:
        """Write the report of a run again, from the journal alone."""
        options = {
            "database_url": database_url,
            "schema": schema,
            "report_dir": report_dir,
            "run": run_id,
            "open": open_it,
            "as_json": as_json,
            "log_format": log_format,
            "verbose": verbose,
        }
        answer(move, demo, options, _work)


def _work(call: Call) -> Mapping[str, Any]:
    from pipelines.table_move.verifier import write_again

    summary = write_again(call.database, call.move, call.settings)
    call.console.line(f"Report: {summary['report']}")
    if call.settings.open:
        typer.launch(str(Path(summary["report"]).resolve()))
    return summary
