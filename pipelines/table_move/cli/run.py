"""The verb `run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from pipelines.table_move.cli.call import Call, answer
from pipelines.table_move.cli.confirm import confirm
from pipelines.table_move.cli.demonstration import Demo
from pipelines.table_move.cli.options import (
    AllowDangling,
    Archive,
    AsJson,
    DatabaseUrl,
    DefaultBusiness,
    LockTimeout,
    LockWait,
    LogFormat,
    MaxWritePause,
    OnConflict,
    OnDemo,
    Owners,
    ReportDir,
    Schema,
    Verbose,
    Yes,
)
from pipelines.table_move.errors import UsageProblem
from pipelines.table_move.next_calls import next_calls
from pipelines.table_move.pure.world import Stands
from pipelines.table_move.spec import Move


def add(app: typer.Typer, move: Move, demo: Demo | None) -> None:
    @app.command()
    def run(
        database_url: DatabaseUrl = None,
        on_demo: OnDemo = None,
        schema: Schema = None,
        default_business: DefaultBusiness = None,
        owners: Owners = None,
        on_conflict: OnConflict = None,
        allow_dangling: AllowDangling = None,
        drop: Annotated[
            bool | None,
            typer.Option("--drop", help="Purge the old table in the same run, after `confirm`.", show_default=False),
        ] = None,
        archive: Archive = None,
        until: Annotated[str | None, typer.Option("--until", help="copy or verify: stop there, exit 0.")] = None,
        grace: Annotated[
            str | None, typer.Option("--grace", help="How long both worlds stay readable. [default: 1s]")
        ] = None,
        max_write_pause: MaxWritePause = None,
        batch_bytes: Annotated[
            str | None, typer.Option("--batch-bytes", help="Size of a batch. [default: 4MB]")
        ] = None,
        workers: Annotated[int | None, typer.Option("--workers", help="Parallel sessions. [default: 2]")] = None,
        lock_timeout: LockTimeout = None,
        lock_wait: LockWait = None,
        report_dir: ReportDir = None,
        yes: Yes = None,
        as_json: AsJson = None,
        log_format: LogFormat = None,
        verbose: Verbose = None,
    ) -> None:
        """The whole move, resumable: run it again after a failure and it goes on; run it when done and it says so."""
        options = {
            "database_url": database_url,
            "demo": on_demo,
            "schema": schema,
            "default_business": default_business,
            "owners": owners,
            "on_conflict": on_conflict,
            "allow_dangling": allow_dangling,
            "drop": drop,
            "archive": archive,
            "until": until,
            "grace": grace,
            "max_write_pause": max_write_pause,
            "batch_bytes": batch_bytes,
            "workers": workers,
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
    import pandas  # noqa: F401  once, before the workers need it at the same time

    from pipelines.table_move import runner

    if call.settings.drop and call.settings.until:
        raise UsageProblem(
            f"--until {call.settings.until} stops before the switch, and --drop drops the old table after it.",
            untouched="Nothing was written.",
            next_step="Give one of the two.",
        )
    more = ", then archive and drop it" if call.settings.drop else ""
    confirm(call, f"Move {{rows}} of {{table}}{more}?", destroys=call.settings.drop)
    outcome = runner.run(call.database, call.move, call.settings, call.console, default_business=call.default_business)
    _show(call, outcome.summary, nothing_to_do=outcome.nothing_to_do)
    return outcome.summary


def _show(call: Call, summary: Mapping[str, Any], *, nothing_to_do: bool) -> None:
    references, gate, pause = summary["references"], summary["gate"], summary["write_pause_ms"]
    waiting = references.get("not_copied", 0)
    call.console.line(summary["world_sentence"])
    if nothing_to_do:
        call.console.line("Nothing is left to do.")
    failed = f"{gate['failed_critical']} critical failed, {gate['failed_warning']} warnings"
    rows = [
        ("rows of the old table", f"{summary['source_rows']:,}", ""),
        ("inserted", f"{summary['inserted']:,}", f"{summary['fan_out_copies']:,} of them copies for other owners"),
        ("already present, adopted", f"{summary['already_present'] + summary['adopted']:,}", ""),
        ("conflicts, rejected", f"{summary['conflicts'] + summary['rejected']:,}", ""),
        ("references rewired", f"{references['rewired']:,}", ""),
        ("references foreign, dangling", f"{references['foreign'] + references['dangling']:,}", "left as they are"),
        *([("references whose row is not copied", f"{waiting:,}", "leave them")] if waiting else []),
        ("writers waited", "–" if pause is None else f"{pause:,.0f} ms", ""),
        ("rows written by this run", f"{summary['rows_written']:,}", ""),
    ]
    if not nothing_to_do:
        rows.insert(-2, ("checks passed", f"{gate['passed']:,}", failed))
    call.console.table(f"Run {summary['run_id']}: {summary['state']}", rows)
    call.console.line(f"Report: {summary['report']}")
    for line in _afterwards(call, summary):
        call.console.line(line)


def _afterwards(call: Call, summary: Mapping[str, Any]) -> Iterator[str]:
    """The ways to go from here."""
    calls = next_calls(call.settings, call.move)
    stands = summary["world"]
    if stands == Stands.OLD_IN_CHARGE:
        yield calls.to("go on, through the switch", "run")
        yield calls.to("take the copied rows back", "rollback")
    if stands == Stands.RETIRED:
        yield f"The old table holds {(summary['old_bytes'] or 0) / 1024**2:,.1f} MB."
        yield calls.to("go back", "rollback")
        yield calls.to("drop it for good, with an archive", "purge", "--yes")
    if purge := summary.get("purge"):
        yield f"The archive has {purge['rows']:,} rows. Keep it: nothing else brings the old table back."
        yield calls.to("go back", "rollback", "--archive", purge["archive"])
