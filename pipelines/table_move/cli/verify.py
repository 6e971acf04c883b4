"""The verb `verify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.table_move.cli.call import Call, answer
from pipelines.table_move.cli.demonstration import Demo
from pipelines.table_move.cli.options import (
    AllowDangling,
    AsJson,
    DatabaseUrl,
    LogFormat,
    OnDemo,
    ReportDir,
    Schema,
    ShowContent,
    Verbose,
)
from pipelines.table_move.errors import GateClosed
from pipelines.table_move.spec import Move

if TYPE_CHECKING:
    from pipelines.table_move.records import CheckRow


def add(app: typer.Typer, move: Move, demo: Demo | None) -> None:
    @app.command()
    def verify(
        database_url: DatabaseUrl = None,
        on_demo: OnDemo = None,
        schema: Schema = None,
        suite: Annotated[
            str | None, typer.Option("--suite", help="source, target, references or reconciliation.")
        ] = None,
        list_all: Annotated[
            bool | None,
            typer.Option("--list", help="Only show every check with its reason.", show_default=False),
        ] = None,
        allow_dangling: AllowDangling = None,
        show_content: ShowContent = None,
        report_dir: ReportDir = None,
        as_json: AsJson = None,
        log_format: LogFormat = None,
        verbose: Verbose = None,
    ) -> None:
        """The expectation suites, at any time, before or after the cutover. Writes a report and nothing else."""
        options = {
            "database_url": database_url,
            "demo": on_demo,
            "schema": schema,
            "allow_dangling": allow_dangling,
            "report_dir": report_dir,
            "suite": suite,
            "list_all": list_all,
            "show_content": show_content,
            "as_json": as_json,
            "log_format": log_format,
            "verbose": verbose,
        }
        answer(move, demo, options, _work, asks_database=lambda settings: not settings.list_all)


def _work(call: Call) -> Mapping[str, Any]:
    if call.settings.list_all:
        return _list(call)
    from pipelines.table_move.quality.verdict import require_open
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


def _list(call: Call) -> Mapping[str, Any]:
    """Every check with its reason, from the files alone."""
    from pipelines.table_move.quality.suites import read_suites

    checks = [
        {
            "suite": suite.subject,
            "expectation": check.name,
            "severity": check.severity,
            "reason": check.reason,
            "remedy": check.remedy,
        }
        for suite in read_suites(call.move.suites)
        for check in suite.checks
        if call.settings.suite in (None, suite.subject)
    ]
    for check in checks:
        call.console.line(f"{check['severity']:<8}  {check['suite']}/{check['expectation']}")
        call.console.line(f"          {check['reason']}")
    return {"checks": checks}


def _show(call: Call, checks: Sequence[CheckRow]) -> None:
    from pipelines.table_move.quality.verdict import SAMPLES

    call.console.table(
        "Checks",
        [
            (
                f"{check.suite}/{check.expectation}",
                "" if check.success else f"{check.unexpected_count:,}",
                "passed" if check.success else check.severity,
                check.samples[:SAMPLES],
            )
            for check in checks
        ],
        header=("expectation", "rows", "result", "for example"),
    )
