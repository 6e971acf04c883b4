"""What a plan foresees of the gate: the counts that are going to close it, before anything is copied for nothing."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.table_move.errors import FailedCheck
from pipelines.table_move.status import Counts, ReferenceCounts


def foreseen(
    counts: Counts, references: ReferenceCounts, *, allow_dangling: bool, keep_target: bool
) -> tuple[FailedCheck, ...]:
    """references: as far as they are known for sure; those to rows that are not copied yet are no dangling ones."""
    return tuple(_foreseen(counts, references, allow_dangling=allow_dangling, keep_target=keep_target))


def _foreseen(
    counts: Counts, references: ReferenceCounts, *, allow_dangling: bool, keep_target: bool
) -> Iterator[FailedCheck]:
    if references.dangling and not allow_dangling:
        yield _check(
            "dangling references",
            references.dangling,
            "They point to no row of the old table or the new one. Correct or empty them; or leave them as they are: "
            "--allow-dangling.",
        )
    if counts.conflicts and not keep_target:
        yield _check(
            "conflicts",
            counts.conflicts,
            "Other rows of the new table have the ids of these. Make the rows equal, or delete one of each two; or "
            "keep what is there: --on-conflict keep-target.",
        )
    if counts.rejected:
        yield _check(
            "rejected rows",
            counts.rejected,
            "The new table does not take them; pipelines.rejected has the reasons. Correct them, or what refuses them.",
        )


def _check(name: str, rows: int, remedy: str) -> FailedCheck:
    return FailedCheck(name=name, severity="critical", rows=f"{rows:,}", samples=(), remedy=remedy)
