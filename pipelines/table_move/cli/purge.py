"""The verb `purge`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from pipelines.table_move.cli.call import Call, answer
from pipelines.table_move.cli.confirm import confirm
from pipelines.table_move.cli.demonstration import Demo
from pipelines.table_move.cli.options import (
    Archive,
    AsJson,
    DatabaseUrl,
    LockTimeout,
    LockWait,
    LogFormat,
    OnDemo,
    ReportDir,
    Schema,
    Verbose,
    Yes,
)
from pipelines.table_move.next_calls import next_calls
from pipelines.table_move.spec import Move


def add(app: typer.Typer, move: Move, demo: Demo | None) -> None:
    @app.command()
    def purge(
        database_url: DatabaseUrl = None,
        on_demo: OnDemo = None,
        schema: Schema = None,
        archive: Archive = None,
        lock_timeout: LockTimeout = None,
        lock_wait: LockWait = None,
        report_dir: ReportDir = None,
        yes: Yes = None,
        as_json: AsJson = None,
        log_format: LogFormat = None,
        verbose: Verbose = None,
    ) -> None:
        """Archive the retired table, prove the archive, then drop the table for good. Undo: rollback --archive."""
        options = {
            "database_url": database_url,
            "demo": on_demo,
            "schema": schema,
            "archive": archive,
            "lock_timeout": lock_timeout,
            "lock_wait": lock_wait,
            "report_dir": report_dir,
            "yes": yes,
            "as_json": as_json,
            "log_format": log_format,
            "verbose": verbose,
        }
        answer(move, demo, options, _work)


def _work(call: Call) -> Mapping[str, Any]:
    from pipelines.table_move.purger import purge

    confirm(call, "Archive {rows} of {table}, then drop the retired table?", destroys=True)
    outcome = purge(call.database, call.move, call.settings, call.console)
    call.console.line(outcome.summary["world_sentence"])
    _show(call, outcome.summary["purge"])
    call.console.line(f"Report: {outcome.report}")
    return outcome.summary


def _show(call: Call, purged: Mapping[str, Any] | None) -> None:
    if purged is None:
        call.console.line("Nothing is left to do.")
        return
    call.console.line(f"Archived and dropped: {purged['rows']:,} rows, {purged['bytes'] / 1024**2:,.1f} MB packed.")
    call.console.line(f"The archive is {purged['archive']}. Keep it: nothing else brings the old table back.")
    call.console.line(next_calls(call.settings, call.move).to("go back", "rollback", "--archive", purged["archive"]))
