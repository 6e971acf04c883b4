"""The verb `verify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.table_move.cli.call import Call, answer
from pipelines.table_move.cli.demonstration import Demo
from pipelines.table_move.cli.options import AllowDangling, AsJson, DatabaseUrl, LogFormat, ReportDir, Schema, Verbose
from pipelines.table_move.errors import GateClosed
from pipelines.table_move.spec import Move

if TYPE_CHECKING:
    from pipelines.table_move.database.journal import CheckRow


def add(app: typer.Typer, move: Move, demo: Demo | None) -> None:
    @app.command()
    def verify(
        database_url: DatabaseUrl = None,
        schema: Schema = None,
        suite: Annotated[
            str | None, typer.Option("--suite", help="source, target, references or reconciliation.")
        ] = None,
        allow_dangling: AllowDangling = None,
        report_dir: ReportDir = None,
        as_json: AsJson = None,
        log_format: LogFormat = None,
        verbose: Verbose = None,
    ) -> None:
        """The expectation suites, at any time, before or after the cutover. Writes a report and nothing else."""
        options = {
            "database_url": database_url,
            "schema": schema,
            "allow_dangling": allow_dangling,
            "report_dir": report_dir,
            "suite": suite,
            "as_json": as_json,
            "log_format": log_format,
            "verbose": verbose,
        }
        answer(move, demo, options, _work)


def _work(call: Call) -> Mapping[str, Any]:
    from pipelines.table_move.quality.gate import require_open
    from pipelines.table_move.verifier import verify

    summary, checks = verify(call.database, call.move, call.settings)
    _show(call, checks)
    call.console.line(f"Report: {summary['report']}")
    try:
        require_open(checks)
    except GateClosed as problem:
        problem.summary = summary
        raise
    return summary


def _show(call: Call, checks: Sequence[CheckRow]) -> None:
    call.console.table(
        "Checks",
        [
            (
                f"{check.suite}/{check.expectation}",
                "" if check.success else f"{check.unexpected_count:,}",
                "passed" if check.success else check.severity,
                "\n".join(check.samples),
            )
            for check in checks
        ],
        header=("expectation", "rows", "result", "for example"),
    )
