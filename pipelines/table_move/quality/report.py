"""The report of a run: one self-contained HTML page, `summary.json`, and the rows to decide on as CSV, written from the
journal's plain values."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipelines.table_move.errors import ReportNotWritten
from pipelines.table_move.own_folder import folder_name, own_folder
from pipelines.table_move.pure.shown import shown
from pipelines.table_move.pure.world import SWITCHED, Server, Stands
from pipelines.table_move.quality import charts, decisions
from pipelines.table_move.quality.decisions import Contents
from pipelines.table_move.quality.spreadsheet import as_csv
from pipelines.table_move.records import CheckRow, newest

_PHASES = {
    "preflight": "look at everything that could stop the move",
    "copy": "copy rows and map, while the application goes on",
    "verify": "settle what moved meanwhile, rehearse the gate",
    "cutover": "switch the references while writers wait",
    "grace": "leave both worlds readable for a moment",
    "retire": "take the old table out of the application's schema",
    "confirm": "follow late references, check the committed result",
    "purge": "archive the old table, prove the archive, drop the table",
    "rollback": "bring the old world back",
}
_OWNERS_SHOWN = 200
BALANCE = "balance_holds"  # what the suites call the check of it
SAMPLES = 3  # keys in the tables of checks; the rest stands with the rows to decide on
_VERDICTS = {
    "done": ("good", "Done: the checks of the committed result have passed."),
    "stopped": ("bad", "Stopped before its end."),
    "paused": ("busy", "Stopped where it was told to; running again goes on from there."),
    "purged": ("good", "Done and purged: the archive has been proven, the old table is dropped."),
    "rolled_back": ("good", "Rolled back."),
    "interrupted": ("bad", "Interrupted. What was committed stays; running again goes on from there."),
    "running": ("busy", "Under way."),
    "checked": ("good", "Checked. No critical expectation failed."),
    "failed": ("bad", "Checked. A critical expectation failed."),
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a report is written from. `contents`: texts of rows to decide on, for whoever asked to see them."""

    summary: Mapping[str, Any]
    checks: Sequence[CheckRow]
    contents: Contents = field(default_factory=dict)


def write_report(facts: Facts, folder: Path) -> Path:
    """Write the page, `summary.json` and the CSV files into a folder of their own. Returns the page. Raises
    ReportNotWritten."""
    summary, run_id = facts.summary, facts.summary.get("run_id")
    server = summary.get("server") or {}
    what = f"{summary['move']}-{'verify' if run_id is None else f'run-{run_id}'}"
    place = folder / folder_name(server.get("database", "database"), summary.get("database_id", "unknown"), what)
    page = place / "report.html"
    try:
        with own_folder(place) as own:
            own.clear("*.csv")
            own.write(page.name, render(facts))
            for kind in decisions.found(summary, facts.checks):
                own.write(kind.file, as_csv(kind.columns, kind.rows))
            document = {**summary, "report": str(page), "checks": [check.__dict__ for check in facts.checks]}
            own.write("summary.json", json.dumps(document, indent=2, default=str) + "\n")
    except OSError as problem:
        again = "verify" if run_id is None else "report"
        raise ReportNotWritten(
            f"The report could not be written to {place}: {problem.strerror}.",
            untouched="What the run committed stays.",
            next_step=f"Make room, or name another folder with --report-dir, then: {_next(summary, again)}",
        ) from problem
    return page


@cache
def template() -> Any:
    """The page's template, compiled once."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: shown(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["server"] = lambda found: Server(**found).sentence
    environment.filters["lines"] = _lines
    return environment.get_template("report.html.j2")


def _lines(text: str) -> Markup:
    """A text of several lines, for where it has been asked for."""
    return Markup("\n").join(shown(line) for line in text.split("\n"))


def render(facts: Facts) -> str:
    """The page as text. Everything is escaped; there is no script, and nothing is loaded from elsewhere."""
    summary = facts.summary
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    newest_checks = newest(facts.checks)
    tone, verdict = _VERDICTS.get(_ended(summary), ("busy", _ended(summary)))
    owners = _owners(summary.get("owners", []), summary.get("references_by_owner", {}))
    return template().render(
        summary=summary,
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        tone=tone,
        verdict=verdict,
        go_on=_go_on(summary),
        go_back=_go_back(summary),
        balance=_balance(summary, checked=_balance_is_checked(newest_checks)),
        flow=charts.flow(summary.get("owners", []), summary),
        owners=owners[:_OWNERS_SHOWN],
        more_owners=max(len(owners) - _OWNERS_SHOWN, 0),
        kinds=decisions.found(summary, facts.checks),
        shown=decisions.SHOWN,
        contents=facts.contents,
        sides=decisions.SIDES,
        closing=[check for check in newest_checks if check.closes_the_gate],
        checks=newest_checks,
        suites=_suites(facts.checks),
        phases=charts.timeline(summary["timings"], _PHASES, _seconds_by_phase(facts.checks)),
        columns=summary.get("references_by_column", []),
        samples=SAMPLES,
    )


def _ended(summary: Mapping[str, Any]) -> str:
    return "paused" if summary["state"] == "stopped" and not summary["error"] else str(summary["state"])


def _next(summary: Mapping[str, Any], purpose: str) -> str:
    """The complete command; of a run whose journal has none, only the verb."""
    verb = {"again": "run", "preview": "rollback --dry-run", "report": f"report --run {summary.get('run_id')}"}.get(
        purpose, purpose
    )
    return summary.get("next", {}).get(purpose, f"{summary.get('command', 'python -m …')} {verb}")


def _go_on(summary: Mapping[str, Any]) -> tuple[str, str, str]:
    """May I go on: the word, why, and the command."""
    failed = summary["gate"]["failed_critical"]
    run, again, verify = (_next(summary, purpose) for purpose in ("run", "again", "verify"))
    if failed and summary.get("world") in SWITCHED:
        return (
            "Decide.",
            f"{failed} critical {'check has' if failed == 1 else 'checks have'} failed after the switch. Repair what "
            "is named, then this asks again; or go back:",
            run if summary["state"] != "failed" else verify,
        )
    return {
        "done": (
            "Nothing is left to do.",
            "The checks can be asked again at any time:",
            verify,
        ),
        "purged": (
            "Nothing is left to do.",
            "The checks can be asked again at any time:",
            verify,
        ),
        "rolled_back": ("Yes.", "A new run begins anew:", run),
        "checked": ("Yes.", "No critical check failed.", run),
        "paused": ("Yes.", "It stopped where it was told to, and every critical check that ran has passed.", run),
        "running": ("Wait.", "The run is under way.", _next(summary, "status")),
        "interrupted": ("Yes.", "What was committed stays; the same command goes on from there.", again),
    }.get(
        _ended(summary),
        (
            "Not yet.",
            f"{failed} critical {'check has' if failed == 1 else 'checks have'} failed. Put the rows right, then:"
            if failed
            else "Put right what the message says, then:",
            again,
        ),
    )


def _go_back(summary: Mapping[str, Any]) -> tuple[str, str]:
    """What there is to go back to, where it stands, and the command."""
    milestone = summary.get("milestone")
    if summary["state"] == "rolled_back" or milestone in (None, "rolled_back"):
        return "Nothing is changed, so there is nothing to take back.", ""
    command = _next(summary, "rollback")
    if milestone == "copying":
        return "The old table is in charge and nothing needs the copied rows. This removes them:", command
    if milestone == "purged":
        return "The old table is dropped. Its archive brings it back:", command
    return (
        "The old table is whole and has its data; what every changed reference held before stands in "
        "pipelines.reference_change, and what foreign keys there were in pipelines.foreign_key. This shows what would "
        "go back:",
        _next(summary, "preview"),
    )


def _suites(checks: Sequence[CheckRow]) -> list[dict[str, Any]]:
    """Seconds per suite and phase; what ran while writers waited (`cutover`) is counted apart."""
    found: dict[str, dict[str, Any]] = {}
    for check in checks:
        line = found.setdefault(check.suite, {"suite": check.suite, "seconds": 0.0, "paused": 0.0})
        line["paused" if check.phase == "cutover" else "seconds"] += check.seconds
    return list(found.values())


def _seconds_by_phase(checks: Sequence[CheckRow]) -> dict[str, float]:
    found: dict[str, float] = {}
    for check in checks:
        found[check.phase] = found.get(check.phase, 0.0) + check.seconds
    return found


def _balance(summary: Mapping[str, Any], *, checked: bool) -> dict[str, Any]:
    ends = ("inserted", "already_present", "adopted", "conflicts", "rejected")
    left = summary["source_rows"] + summary["fan_out_copies"]
    right = sum(summary[end] for end in ends)
    bars, x = [], 0.0
    for end in ends:
        width = 100.0 * summary[end] / right if right else 0.0
        bars.append({"name": end.replace("_", " "), "rows": summary[end], "x": round(x, 3), "width": round(width, 3)})
        x += width
    tone, verdict = _balance_verdict(summary, left - right, checked=checked)
    return {"left": left, "right": right, "tone": tone, "verdict": verdict, "bars": bars}


def _balance_is_checked(checks: Sequence[CheckRow]) -> bool:
    """Whether no check of it has failed: the sums are those of the map, and a check also looks at rows and owners."""
    return all(check.success for check in checks if check.expectation == BALANCE)


def _balance_verdict(summary: Mapping[str, Any], missing: int, *, checked: bool) -> tuple[str, str]:
    """While the old table is in charge rows come and go: what is not settled yet is no fault."""
    if missing == 0 and not checked:
        return "bad", f"The sums agree, and yet the balance does not hold: the check {BALANCE} has failed."
    if missing == 0:
        return "good", "The balance holds."
    if summary.get("world") == Stands.OLD_IN_CHARGE and not summary["gate"]["failed_critical"]:
        more = f"{missing:,} rows are not copied yet" if missing > 0 else f"{-missing:,} rows left the old table since"
        return "busy", f"The old table is in charge: {more}."
    return "bad", "The balance does not hold."


def _owners(rows: Sequence[Mapping[str, Any]], references: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """One line per owner, most rows first: rows by rule and by disposition, references by class, the bar's width."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        nobody = {"owner": row["owner"] if row["owner_id"] else "(no owner)", "owner_id": row["owner_id"] or ""}
        line = found.setdefault(row["owner_id"], {**nobody, "rows": 0, "rules": {}, "ends": {}})
        line["rows"] += row["rows"]
        for part, name in (("rules", row["rule"]), ("ends", row.get("disposition", "inserted"))):
            line[part][name] = line[part].get(name, 0) + row["rows"]
    most = max((line["rows"] for line in found.values()), default=1)
    return [
        {**line, "width": round(100 * line["rows"] / most, 2), "references": references.get(key, {})}
        for key, line in sorted(found.items(), key=lambda item: (-item[1]["rows"], item[1]["owner"]))
    ]
