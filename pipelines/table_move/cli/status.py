"""The verb `status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from pipelines.table_move.cli.call import Call, answer
from pipelines.table_move.cli.demonstration import Demo
from pipelines.table_move.cli.options import AsJson, DatabaseUrl, LogFormat, OnDemo, Schema, Verbose
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Counts


def add(app: typer.Typer, move: Move, demo: Demo | None) -> None:
    @app.command()
    def status(
        database_url: DatabaseUrl = None,
        on_demo: OnDemo = None,
        schema: Schema = None,
        as_json: AsJson = None,
        log_format: LogFormat = None,
        verbose: Verbose = None,
    ) -> None:
        """Where the move stands: counts, rate, time left, who holds the lock. Writes nothing."""
        options = {
            "database_url": database_url,
            "demo": on_demo,
            "schema": schema,
            "as_json": as_json,
            "log_format": log_format,
            "verbose": verbose,
        }
        answer(move, demo, options, _work)


def _work(call: Call) -> Mapping[str, Any]:
    from pipelines.table_move.database.patience import look_patiently
    from pipelines.table_move.standing import look

    found = look_patiently(call.database, lambda: look(call.database, call.move))
    _show(call, found)
    return found


def _show(call: Call, found: Mapping[str, Any]) -> None:
    from pipelines.table_move.database.lock import described

    console = call.console
    console.line(f"{found['move']}: {found['state']}" + (f", {found['phase']}" if found.get("phase") else ""))
    if holder := found["lock_holder"]:
        console.line(f"The lock is held by {described(holder)}.")
    if found.get("run_id") is None:
        console.line(f"{found['source_rows']:,} rows wait. `plan` says what a run would do.")
        return
    rows = [(name.replace("_", " "), f"{found[name]:,}", "") for name in Counts().as_dict()]
    if progress := found["progress"]:
        left = progress["seconds_left"]
        rate = f"{progress['rows_per_second']:,.0f} rows/s" + (f", {left:,.0f} s left" if left is not None else "")
        rows.append(("copied", f"{progress['rows']:,}", rate))
    console.table(f"Run {found['run_id']}", rows)
    if found["error"]:
        console.line(f"It ended with: {found['error']}")
