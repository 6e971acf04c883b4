"""The expectation suites as files: read and judged before anything is copied, without importing Great Expectations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.table_move.errors import GateClosed
from pipelines.table_move.status import SUBJECTS

SEVERITIES = ("critical", "warning", "info")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One expectation. `name` is unique in its suite; `reason` is a sentence for the person who signs, `remedy` says
    what to do about a row that fails (in the file: meta.remedy)."""

    name: str
    severity: str
    reason: str
    remedy: str = "Put the rows right, then run again."
    definition: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The expectations over one subject."""

    subject: str
    checks: tuple[Check, ...]

    def critical(self) -> Suite:
        """The expectations that can close the gate."""
        return Suite(subject=self.subject, checks=tuple(check for check in self.checks if check.severity == "critical"))


def read_suites(folder: Path) -> tuple[Suite, ...]:
    """The suites of a move. Raises GateClosed for anything that would let a check fall away in silence."""
    known = _known_expectations()
    return tuple(_read(folder / f"{subject}.json", subject, known) for subject in SUBJECTS)


def _read(path: Path, subject: str, known: frozenset[str]) -> Suite:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = document["expectations"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise _closed(path, f"cannot be read ({type(problem).__name__})") from problem
    if not isinstance(found, list) or not found:
        raise _closed(path, "holds no expectation")
    checks = tuple(_check(path, number, entry, known) for number, entry in enumerate(found, 1))
    if len({check.name for check in checks}) != len(checks):
        raise _closed(path, "gives two expectations the same name")
    if not any(check.severity == "critical" for check in checks):
        raise _closed(path, "holds no critical expectation, so it could never close the gate")
    return Suite(subject=subject, checks=checks)


def _check(path: Path, number: int, entry: Any, known: frozenset[str]) -> Check:
    try:
        kind, meta, severity = entry["type"], entry["meta"], entry["severity"]
        name, reason, kwargs = meta["name"], meta["reason"], entry["kwargs"]
    except (KeyError, TypeError) as problem:
        raise _closed(path, f"expectation {number} lacks type, kwargs, severity, meta.name or meta.reason") from problem
    if kind not in known:
        raise _closed(path, f"expectation {number} is of an unknown type {kind!r}")
    if severity not in SEVERITIES:
        raise _closed(path, f"expectation {number} has the unknown severity {severity!r}; known: {SEVERITIES}")
    if kind == "unexpected_rows_expectation" and "{batch}" not in str(kwargs.get("unexpected_rows_query")):
        raise _closed(path, f"expectation {number} does not query {{batch}}, so it would look at something else")
    advice = {"remedy": meta["remedy"]} if meta.get("remedy") else {}
    return Check(name=name, severity=severity, reason=reason, definition=entry, **advice)


def _known_expectations() -> frozenset[str]:
    """The types of Great Expectations, by its file names: importing it would take seconds."""
    package = find_spec("great_expectations")
    folder = Path(package.origin).parent / "expectations" / "core"
    return frozenset(path.stem for path in folder.glob("*expect*.py"))


def _closed(path: Path, what: str) -> GateClosed:
    return GateClosed(
        f"The suite {path.name} {what}.",
        untouched="This call has copied and changed nothing.",
        next_step=f"Put {path} right, then run again.",
    )
