"""The rows that somebody has to look at, by kind, as the report lists them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.table_move.records import CheckRow, newest

SHOWN = 100  # rows of a kind on the page; the CSV file has all that the journal keeps

# The columns that tell texts apart by length and hash, and where the texts themselves stand in `Contents`.
SIDES = {"old_text": 0, "new_text": 1}

Contents = Mapping[tuple[str, str], tuple[Mapping[str, str], Mapping[str, str]]]

# In the order of the columns: the journal keeps none.
_LABELS = {
    "check": "check",
    "key": "row",
    "source_id": "old row",
    "table_name": "table",
    "row_key": "row",
    "column_name": "column",
    "value": "holds",
    "target_id": "row of the new table",
    "old_text": "old text",
    "new_text": "text there",
    "owner": "owner",
    "owner_id": "owner's id",
    "reason": "reason",
    "detail": "detail",
    "remedy": "what to do",
}
_KINDS = {
    "conflicts": (
        "Conflicts",
        True,
        "Another row stands in the place of these, or somebody edited ours before the switch.",
        "Compare the two rows and correct one; or keep what is there with --on-conflict keep-target.",
    ),
    "rejected": (
        "Rejected rows",
        True,
        "These rows could not be carried.",
        "Put them right in the old table, then run again.",
    ),
    "dangling": (
        "References to nothing",
        True,
        "These references point to no row, neither of the old table nor of the new one.",
        "Correct or empty them, or leave them as they are with --allow-dangling.",
    ),
    "not_copied": (
        "References whose row is not copied",
        False,
        "The old row is there; the owner has no row of its own in the new table yet.",
        "Leave them as they are: before the switch the next run copies the row, and they follow. A rejected row has to "
        "be put right first.",
    ),
    "foreign": (
        "References to another owner's row",
        True,
        "They are left as they are.",
        "Ask both owners; point the reference to a row of its own owner.",
    ),
    "kept": (
        "Kept as they were",
        True,
        "These rows of the new table differ from the old ones, and somebody decided that they stay.",
        "Nothing, unless the decision was wrong.",
    ),
    "unknown": (
        "Rows that the move does not know",
        False,
        "They stand in the new table beside the carried ones: the application's own, or put there by hand. The journal "
        "has no earlier state of them; no statement of the move touches them.",
        "Nothing, unless one of them should not be there.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Rows of one kind. `total` is the true number, `rows` are those that the journal keeps (at most 1000).

    decide: somebody has to decide; otherwise they are listed for information.
    """

    name: str
    title: str
    decide: bool
    why: str
    todo: str
    total: int
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]

    @property
    def page_columns(self) -> list[str]:
        """What a check is there for stands with the check, and an owner has a name; the file has all of it."""
        elsewhere = ("reason", "remedy") if "check" in self.columns else ("owner_id",)
        return [column for column in self.columns if column not in elsewhere]

    @property
    def file(self) -> str:
        return f"{self.name}.csv"

    @property
    def headers(self) -> list[str]:
        return [_LABELS[column] for column in self.page_columns]


def found(summary: Mapping[str, Any], checks: Sequence[CheckRow]) -> list[Kind]:
    """The kinds that have rows: those of the failed checks first, then those of the map and the references."""
    failed = [check for check in newest(checks) if not check.success]
    return [
        *_of_checks("failed", "Rows of checks that close the gate", [c for c in failed if c.closes_the_gate]),
        *_of_journal(summary.get("decisions", {})),
        *_of_checks("warnings", "Warnings", [c for c in failed if not c.closes_the_gate and c.severity == "warning"]),
        *_of_checks("information", "For information", [c for c in failed if c.severity == "info" and not c.error]),
    ]


def _of_journal(listed: Mapping[str, Mapping[str, Any]]) -> Iterator[Kind]:
    for name, (title, decide, why, todo) in _KINDS.items():
        rows = listed.get(name, {}).get("rows", [])
        if rows:
            yield Kind(
                name=name,
                title=title,
                decide=decide,
                why=why,
                todo=todo,
                total=listed[name]["total"],
                columns=[column for column in _LABELS if column in rows[0]],
                rows=rows,
            )


def _of_checks(name: str, title: str, checks: Sequence[CheckRow]) -> Iterator[Kind]:
    rows = [
        {"check": f"{check.suite}/{check.expectation}", "key": key, "reason": check.reason, "remedy": check.remedy}
        for check in checks
        for key in check.samples
    ]
    if rows:
        yield Kind(
            name=name,
            title=title,
            decide=name != "information",
            why="What each check is there for, and what to do, stands under Checks.",
            todo="",
            total=sum(check.unexpected_count for check in checks),
            columns=("check", "key", "reason", "remedy"),
            rows=rows,
        )
