"""The verb `report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.table_move.cli.call import Call, answer
from pipelines.table_move.cli.demonstration import Demo
from pipelines.table_move.cli.options import (
    AsJson,
    DatabaseUrl,
    LogFormat,
    OnDemo,
    ReportDir,
    Schema,
    ShowContent,
    Verbose,
)
from pipelines.table_move.pure.world import NOWHERE
from pipelines.table_move.spec import Move


def add(app: typer.Typer, move: Move, demo: Demo | None) -> None:
    @app.command()
    def report(
        database_url: DatabaseUrl = None,
        on_demo: OnDemo = None,
        schema: Schema = None,
        run_id: Annotated[int | None, typer.Option("--run", help="Which run. [default: the newest]")] = None,
        open_it: Annotated[
            bool | None, typer.Option("--open", help="Open it in a browser.", show_default=False)
        ] = None,
        list_all: Annotated[
            bool | None, typer.Option("--list", help="Only show the past runs.", show_default=False)
        ] = None,
        show_content: ShowContent = None,
        report_dir: ReportDir = None,
        as_json: AsJson = None,
        log_format: LogFormat = None,
        verbose: Verbose = None,
    ) -> None:
        """Write the report of a run again, from the journal alone."""
        options = {
            "database_url": database_url,
            "demo": on_demo,
            "schema": schema,
            "report_dir": report_dir,
            "run": run_id,
            "open": open_it,
            "list_all": list_all,
            "show_content": show_content,
            "as_json": as_json,
            "log_format": log_format,
            "verbose": verbose,
        }
        answer(move, demo, options, _work)


def _work(call: Call) -> Mapping[str, Any]:
    from pipelines.table_move.verifier import past_runs, write_again

    if call.settings.list_all:
        runs = past_runs(call.database, call.move)
        _list(call, runs)
        return {"runs": runs}
    summary = write_again(call.database, call.move, call.settings)
    call.console.line(f"Report: {summary['report']}")
    if call.settings.open:
        typer.launch(str(Path(summary["report"]).resolve()))
    return {key: value for key, value in summary.items() if key not in NOWHERE}  # as it was then


def _list(call: Call, runs: Sequence[Mapping[str, Any]]) -> None:
    if not runs:
        call.console.line("No run yet.")
        return
    header = ("run", "rows written", "began (UTC)", "seconds", "state", "phase", "checks")
    call.console.table("Past runs", [_line(run) for run in runs], header=header)
    for run in runs:
        if run["error"]:
            call.console.line(f"Run {run['run_id']}: {run['error']}")
    call.console.line("`report --run N` writes the report of one again.")


def _line(run: Mapping[str, Any]) -> tuple[str, ...]:
    gate, seconds = run["gate"], run["seconds"]
    failed = f"{gate['passed']} passed, {gate['failed_critical']} critical failed" if gate else "–"
    return (
        str(run["run_id"]),
        f"{run['rows_written']:,}",
        str(run["started_at"]),
        "–" if seconds is None else f"{seconds:,.1f}",
        str(run["state"]),
        str(run["phase"]),
        failed,
    )
