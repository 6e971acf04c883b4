"""Where a move can stand, what it counts, and which way leads from where to where."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass
from enum import StrEnum


class State(StrEnum):
    """What an operator is told about a move or an attempt."""

    NOT_STARTED = "not_started"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    PURGED = "purged"


class Phase(StrEnum):
    """The steps of a run, in order, and the two verbs that may follow it."""

    PREFLIGHT = "preflight"
    COPY = "copy"
    VERIFY = "verify"
    CUTOVER = "cutover"
    GRACE = "grace"
    RETIRE = "retire"
    CONFIRM = "confirm"
    ROLLBACK = "rollback"
    PURGE = "purge"


class Milestone(StrEnum):
    """The last point of the move that is committed. A resume starts here, and so does the way back."""

    COPYING = "copying"
    SWITCHED = "switched"
    RETIRED = "retired"
    CONFIRMED = "confirmed"
    PURGED = "purged"
    ROLLED_BACK = "rolled_back"


DONE = (Milestone.CONFIRMED, Milestone.PURGED)
"""The milestones at which a run has nothing left to do."""

TRANSITIONS: dict[tuple[Milestone | None, Milestone], str] = {
    (None, Milestone.COPYING): "The first attempt opens the move; from here rows may stand in the target.",
    (Milestone.COPYING, Milestone.SWITCHED): "References point to the new rows and the old table is frozen, at once.",
    (Milestone.SWITCHED, Milestone.RETIRED): "The old table leaves the application's schema, whole.",
    (Milestone.RETIRED, Milestone.CONFIRMED): "Late references are rewired and the committed result is checked.",
    (Milestone.CONFIRMED, Milestone.PURGED): "The archive is proven and the retired table is dropped.",
    (Milestone.RETIRED, Milestone.SWITCHED): "Going back: the old table is in its place again, still frozen.",
    (Milestone.CONFIRMED, Milestone.SWITCHED): "Going back: the old table is in its place again, still frozen.",
    (Milestone.PURGED, Milestone.SWITCHED): "Going back: the old table is made from its archive, frozen.",
    (
        Milestone.SWITCHED,
        Milestone.COPYING,
    ): "Going back: references point to the old rows, which can be written again.",
    (Milestone.COPYING, Milestone.ROLLED_BACK): "Going back: the rows that the move inserted are gone.",
    (Milestone.ROLLED_BACK, Milestone.COPYING): "The move begins anew.",
}


class Disposition(StrEnum):
    """What became of a source row for one owner. `rejected` rows stand in a table of their own."""

    INSERTED = "inserted"
    ALREADY_PRESENT = "already_present"
    ADOPTED = "adopted"
    CONFLICT = "conflict"


class OwnerRule(StrEnum):
    """Which rule named an owner. `copy` marks the copies of other owners; the rest name the primary one."""

    PRESENT = "present"
    OWNERS_FILE = "owners_file"
    REFERENCES = "references"
    DEFAULT = "default"
    COPY = "copy"


@dataclass(frozen=True, kw_only=True)
class ReferenceCounts:
    """References by class; each filled or empty column of a row is one."""

    to_rewire: int = 0
    rewired: int = 0
    already_current: int = 0
    foreign: int = 0
    dangling: int = 0
    null: int = 0
    not_copied: int = 0

    @property
    def total(self) -> int:
        return sum(astuple(self))


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The balance of a move: source_rows + fan_out_copies = inserted + already_present + adopted + conflicts
    + rejected."""

    source_rows: int = 0
    fan_out_copies: int = 0
    inserted: int = 0
    already_present: int = 0
    adopted: int = 0
    conflicts: int = 0
    rejected: int = 0

    @property
    def balanced(self) -> bool:
        ended = self.inserted + self.already_present + self.adopted + self.conflicts + self.rejected
        return self.source_rows + self.fan_out_copies == ended

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class GateCounts:
    """Expectations of the last gate: how many passed, and how many failed at which severity."""

    passed: int = 0
    failed_critical: int = 0
    failed_warning: int = 0


SUBJECTS = ("source", "target", "references", "reconciliation")
"""What the suites look at, one suite each."""
