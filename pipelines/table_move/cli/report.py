"""The verb `report`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.table_move.cli.call import Call, Manner, answer
from pipelines.table_move.cli.demonstration import Demo
from pipelines.table_move.cli.options import AsJson, DatabaseUrl, LogFormat, ReportDir, Schema, Verbose
from pipelines.table_move.spec import Move


def add(app: typer.Typer, move: Move, demo: Demo) -> None:
    @app.command()
    def report(
        database_url: DatabaseUrl = None,
        schema: Schema = None,
        run_id: Annotated[int | None, typer.Option("--run", help="Which run. [default: the newest]")] = None,
        open_it: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
        report_dir: ReportDir = None,
        as_json: AsJson = False,
        log_format: LogFormat = "text",
        verbose: Verbose = False,
    ) -> None:
        """Write the report of a run again, from the journal alone."""
        options = {"database_url": database_url, "schema": schema, "report_dir": report_dir}
        manner = Manner(as_json=as_json, log_format=log_format, verbose=verbose)
        answer(move, demo, manner, options, lambda call: _work(call, run_id, open_it=open_it))


def _work(call: Call, run_id: int | None, *, open_it: bool) -> Mapping[str, Any]:
    from pipelines.table_move.verifier import write_again

    summary = write_again(call.database, call.move, call.settings, run_id=run_id)
    call.console.line(f"Report: {summary['report']}")
    if open_it:
        typer.launch(str(Path(summary["report"]).resolve()))
    return summary
