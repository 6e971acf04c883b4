"""The verb `rollback`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipelines.table_move.cli.call import Call, answer
from pipelines.table_move.cli.confirm import confirm
from pipelines.table_move.cli.demonstration import Demo
from pipelines.table_move.cli.options import (
    AsJson,
    DatabaseUrl,
    LockTimeout,
    LockWait,
    LogFormat,
    MaxWritePause,
    OnDemo,
    ReportDir,
    Schema,
    Verbose,
    Yes,
)
from pipelines.table_move.errors import MoveError
from pipelines.table_move.spec import Move

_SHOWN = 3  # keys of a loss on the terminal


def add(app: typer.Typer, move: Move, demo: Demo | None) -> None:
    @app.command()
    def rollback(
        database_url: DatabaseUrl = None,
        on_demo: OnDemo = None,
        schema: Schema = None,
        archive: Annotated[
            str | None, typer.Option("--archive", help="After a purge: the folder of the archive.", metavar="DIR")
        ] = None,
        dry_run: Annotated[
            bool | None,
            typer.Option("--dry-run", help="Only show what would go back and what would be lost.", show_default=False),
        ] = None,
        accept_loss: Annotated[
            bool | None,
            typer.Option(
                "--accept-loss",
                help="Go back although something has no place in the old table; --dry-run lists it.",
                show_default=False,
            ),
        ] = None,
        max_write_pause: MaxWritePause = None,
        lock_timeout: LockTimeout = None,
        lock_wait: LockWait = None,
        report_dir: ReportDir = None,
        yes: Yes = None,
        as_json: AsJson = None,
        log_format: LogFormat = None,
        verbose: Verbose = None,
    ) -> None:
        """The old world back, with its data and references, before or after the cutover. Resumable, like `run`."""
        options = {
            "database_url": database_url,
            "demo": on_demo,
            "schema": schema,
            "archive": archive,
            "dry_run": dry_run,
            "accept_loss": accept_loss,
            "max_write_pause": max_write_pause,
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
    import pandas  # noqa: F401  the mapping of edited rows needs it

    from pipelines.table_move.rollback import rollback

    if call.settings.dry_run:
        return _preview(call)
    confirm(call, "Take the move of {rows} of {table} back?")
    try:
        outcome = rollback(call.database, call.move, call.settings, call.console)
    except MoveError as problem:
        if problem.summary and "rollback" in problem.summary:
            _show(call, "Left behind", problem.summary["rollback"])
        raise
    if "world_sentence" in outcome.summary:
        call.console.line(outcome.summary["world_sentence"])
    if outcome.nothing_to_do:
        call.console.line(
            "There is no move to take back." if outcome.run_id is None else "Nothing is left to do: it is rolled back."
        )
    _show(call, f"Rollback: {outcome.state}", outcome.summary["rollback"])
    for name in outcome.summary["rollback"]["not_validated"]:
        call.console.line(f"The foreign key {name} is back but not validated: rows written since violate it.")
    if outcome.report is not None:
        call.console.line(f"Report: {outcome.report}")
    return outcome.summary


def _preview(call: Call) -> Mapping[str, Any]:
    from pipelines.table_move.rollback import preview
    from pipelines.table_move.status import Phase

    outlook, would = preview(call.database, call.move, call.settings, call.console)
    told = would.as_dict()
    if outlook.nothing_to_do:
        call.console.line("There is nothing to take back.")
    _show(call, "What would go back", told)
    if told["losses"]:
        call.console.line("What has no place in the old table stays where it is, and needs --accept-loss.")
    call.console.line("Nothing was written.")
    return {"state": outlook.state, "phase": Phase.ROLLBACK, "rollback": told}


def _show(call: Call, title: str, told: Mapping[str, Any]) -> None:
    removed = "" if told["removed"] is None else f"{told['removed']:,}"
    call.console.table(
        title,
        [
            ("references back", f"{told['references_back']:,}", ""),
            ("edits merged back", f"{told['merged_back']:,}", ""),
            ("deletions carried back", f"{told['deletions_back']:,}", ""),
            ("rows removed from the new table", removed, ""),
            *((f"left behind: {loss['what']}", f"{loss['count']:,}", loss["keys"][:_SHOWN]) for loss in told["losses"]),
        ],
    )
