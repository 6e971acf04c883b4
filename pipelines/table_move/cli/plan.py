"""The verb `plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import typer

from pipelines.table_move.cli.call import Call, answer
from pipelines.table_move.cli.demonstration import Demo
from pipelines.table_move.cli.options import (
    AllowDangling,
    AsJson,
    DatabaseUrl,
    DefaultBusiness,
    LogFormat,
    OnConflict,
    OnDemo,
    Owners,
    Schema,
    Verbose,
)
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Phase

if TYPE_CHECKING:
    from pipelines.table_move.preflight import Plan


def add(app: typer.Typer, move: Move, demo: Demo | None) -> None:
    @app.command()
    def plan(
        database_url: DatabaseUrl = None,
        on_demo: OnDemo = None,
        schema: Schema = None,
        default_business: DefaultBusiness = None,
        owners: Owners = None,
        on_conflict: OnConflict = None,
        allow_dangling: AllowDangling = None,
        as_json: AsJson = None,
        log_format: LogFormat = None,
        verbose: Verbose = None,
    ) -> None:
        """Census and prediction: rows, owners, references, blockers, expected time. Writes nothing, ever."""
        options = {
            "database_url": database_url,
            "demo": on_demo,
            "schema": schema,
            "default_business": default_business,
            "owners": owners,
            "on_conflict": on_conflict,
            "allow_dangling": allow_dangling,
            "as_json": as_json,
            "log_format": log_format,
            "verbose": verbose,
        }
        answer(move, demo, options, _work)


def _work(call: Call) -> Mapping[str, Any]:
    from pipelines.table_move.database.patience import look_patiently
    from pipelines.table_move.database.undeclared import undeclared_references
    from pipelines.table_move.preflight import make_plan
    from pipelines.table_move.pure.warnings import about_undeclared

    plan = look_patiently(
        call.database,
        lambda: make_plan(call.database, call.move, call.settings, default_business=call.default_business),
    )
    if not plan.blockers and not plan.nothing_to_do and not plan.located.facts.is_retired:
        found = undeclared_references(call.database, plan.located)
        plan = replace(plan, warnings=(*plan.warnings, *about_undeclared(found)))
    problem = plan.blocked() if plan.blockers else plan.gate_closing() if plan.closing else None
    if not plan.blockers:
        _show(call, plan)
    if problem is not None:
        problem.summary = _document(plan)
        raise problem
    return _document(plan)


def _document(plan: Plan) -> dict[str, Any]:
    return {
        "move": plan.located.names.key,
        "state": plan.state,
        "phase": Phase.PREFLIGHT,
        **plan.counts.as_dict(),
        "owner_rules": dict(plan.rules),
        "references": asdict(plan.references),
        "blockers": [asdict(blocker) for blocker in plan.blockers],
        "warnings": list(plan.warnings),
        "gate_will_close": [
            {"check": check.name, "rows": check.rows, "remedy": check.remedy} for check in plan.closing
        ],
        "expected_seconds": round(plan.expected_seconds, 1),
        "expected_write_pause_ms": round(1000 * plan.expected_pause_seconds),
    }


def _show(call: Call, plan: Plan) -> None:
    console, move, facts = call.console, call.move, plan.located.facts
    if plan.nothing_to_do:
        console.line("The move is done; nothing is left to do.")
        return
    megabytes = (facts.source.heap_bytes + facts.source.toast_bytes) / 1024**2
    rules = plan.rules if move.owner is not None else {}
    references = [(f"references {name.replace('_', ' ')}", f"{n:,}", "") for name, n in asdict(plan.references).items()]
    console.table(
        f"Plan: {move.source.table} to {move.target.table}",
        [
            ("rows", f"{plan.counts.source_rows:,}", f"{megabytes:,.1f} MB"),
            (
                "to be inserted",
                f"{plan.counts.inserted:,}",
                f"{plan.counts.fan_out_copies:,} of them copies for others",
            ),
            ("already there, adopted", f"{plan.counts.already_present:,} + {plan.counts.adopted:,}", "at most"),
            ("conflicts", f"{plan.counts.conflicts:,}", "another row has the id"),
            *((f"owner by {rule.replace('_', ' ')}", f"{n:,}", "") for rule, n in rules.items()),
            *references,
            ("foreign keys", f"{len(facts.foreign_keys):,}", "to the old table; they leave"),
            ("expected time", f"{plan.expected_seconds:,.0f} s", "rough"),
            ("expected write pause", f"{plan.expected_pause_seconds:,.1f} s", "rough; readers go on"),
        ],
    )
    for warning in plan.warnings:
        console.line(f"Warning: {warning}")
    if not plan.closing:
        console.line("Nothing is in the way. Nothing was written.")
