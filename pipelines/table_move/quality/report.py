"""The report of a run: one self-contained HTML page and `summary.json`, written from the journal's plain values."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.table_move.database.journal import CheckRow, newest
from pipelines.table_move.errors import ReportNotWritten

_PHASES = {
    "preflight": "look at everything that could stop the move",
    "copy": "copy rows and map, while the application goes on",
    "verify": "settle what moved meanwhile, rehearse the gate",
    "cutover": "switch the references while writers wait",
    "grace": "leave both worlds readable for a moment",
    "retire": "take the old table out of the application's schema",
    "confirm": "follow late references, check the committed result",
}
_VERDICTS = {
    "done": ("good", "Done. Every row has its place, every reference follows, the old table is retired."),
    "stopped": ("bad", "Stopped. The old table is kept."),
    "paused": ("busy", "Stopped where it was told to. The old table is in charge; running again goes on from there."),
    "interrupted": ("bad", "Interrupted. What was committed stays; running again goes on from there."),
    "running": ("busy", "Under way."),
    "checked": ("good", "Checked. No critical expectation failed."),
    "failed": ("bad", "Checked. A critical expectation failed."),
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a report is written from."""

    summary: Mapping[str, Any]
    checks: Sequence[CheckRow]


def write_report(facts: Facts, folder: Path) -> Path:
    """Write the page and `summary.json` into a folder of their own. Returns the page. Raises ReportNotWritten."""
    run_id = facts.summary.get("run_id")
    name = re.sub(r"[^\w-]", "-", str(facts.summary["move"]))  # a schema may be called ../../etc
    place = folder / f"{name}-{'verify' if run_id is None else f'run-{run_id}'}"
    page = place / "report.html"
    try:
        place.mkdir(parents=True, exist_ok=True)
        _write(page, render(facts))
        document = {
            **facts.summary,
            "report": str(page),
            "checks": [check.__dict__ for check in facts.checks],
        }
        _write(place / "summary.json", json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")
    except OSError as problem:
        raise ReportNotWritten(
            f"The report could not be written to {place}: {problem.strerror}.",
            untouched="The move itself stands as `status` shows it.",
            next_step=f"Make room or name another folder, then: report{'' if run_id is None else f' --run {run_id}'}",
        ) from problem
    return page


def render(facts: Facts) -> str:
    """The page as text. Everything is escaped; there is no script, and nothing is loaded from elsewhere."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    summary = facts.summary
    ended = "paused" if summary["state"] == "stopped" and not summary["error"] else str(summary["state"])
    tone, verdict = _VERDICTS.get(ended, ("busy", ended))
    return environment.get_template("report.html.j2").render(
        summary=summary,
        tone=tone,
        verdict=verdict,
        balance=_balance(summary),
        owners=_owners(summary.get("owners", [])),
        failed=[check for check in newest(facts.checks) if not check.success],
        checks=facts.checks,
        timings=[
            (name, what, summary["timings"][name]) for name, what in _PHASES.items() if name in summary["timings"]
        ],
    )


def _balance(summary: Mapping[str, Any]) -> dict[str, Any]:
    ends = ("inserted", "already_present", "adopted", "conflicts", "rejected")
    left = summary["source_rows"] + summary["fan_out_copies"]
    right = sum(summary[end] for end in ends)
    bars, x = [], 0.0
    for end in ends:
        width = 100.0 * summary[end] / right if right else 0.0
        bars.append({"name": end.replace("_", " "), "rows": summary[end], "x": round(x, 3), "width": round(width, 3)})
        x += width
    return {"left": left, "right": right, "holds": left == right, "bars": bars}


def _owners(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line per owner: rows by rule, and the width of its bar in percent of the largest."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        line = found.setdefault(row["owner_id"], {"owner": row["owner"], "owner_id": row["owner_id"], "rows": 0})
        line["rows"] += row["rows"]
        line[row["rule"]] = line.get(row["rule"], 0) + row["rows"]
    most = max((line["rows"] for line in found.values()), default=1)
    return [{**line, "width": round(100 * line["rows"] / most, 2)} for line in found.values()]


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and readable by nobody else: names of customers stand in it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
