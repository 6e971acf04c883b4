"""Everything that can end a verb, as one tree. The class gives the exit code and whether running again may help.

MoveError
├── UsageProblem          2   the call cannot be understood
├── Blocked               3   something has to be put right first
│   ├── ArchiveUnusable   3   an archive cannot be written, or is not what the journal says
│   └── NotAsAsked        3   the installation changed, kept or swallowed rows that a statement wrote
├── GateClosed            4   the checks said no; the switch is not made
│   └── FailedAfterSwitch 8   the checks said no, and the new table is in charge
├── AnotherRunActive      5   one run at a time
├── NotInTime             6   a lock or the write pause was not to be had
├── ConnectionLost        7   the database is away; run again
├── Fenced                7   another run took over while this one was paused
├── ReportNotWritten     74   the move stands, its report does not
├── Interrupted 129/130/143   a signal ended it; run again
└── Bug                  70   anything else
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Blocker:
    """One thing that stops the move before it starts: a stable code, a sentence, and what to do about it."""

    code: str
    message: str
    remedy: str


class MoveError(Exception):
    """What happened, what was left untouched, and what to do next."""

    exit_code: ClassVar[int] = 70
    retryable: ClassVar[bool] = False

    def __init__(self, happened: str, *, untouched: str = "", next_step: str = "") -> None:
        super().__init__(happened)
        self.happened = happened
        self.untouched = untouched
        self.next_step = next_step
        self.summary: Mapping[str, Any] | None = None  # counts as they stood, where they could still be read

    def __str__(self) -> str:
        return "\n".join(part for part in (self.happened, self.untouched, self.next_step) if part)


class UsageProblem(MoveError):
    exit_code = 2


class Blocked(MoveError):
    exit_code = 3

    def __init__(self, happened: str, *, blockers: tuple[Blocker, ...] = (), untouched: str = "", next_step: str = ""):
        super().__init__(happened, untouched=untouched, next_step=next_step)
        self.blockers = blockers


class ArchiveUnusable(Blocked):
    """An archive that cannot be written, or is not what the journal says."""


class NotAsAsked(Blocked):
    """A statement did not get what it asked for. keys: the rows that are not as they were asked to be."""

    def __init__(self, happened: str, *, keys: frozenset[str], untouched: str = "", next_step: str = "") -> None:
        super().__init__(happened, untouched=untouched, next_step=next_step)
        self.keys = keys


@dataclass(frozen=True, kw_only=True)
class FailedCheck:
    """A check that closes the gate: its name, how many rows and which ones, or why it gave no answer; what to do."""

    name: str
    severity: str
    rows: str
    samples: tuple[str, ...]
    remedy: str


class GateClosed(MoveError):
    exit_code = 4

    def __init__(
        self, happened: str, *, failed: tuple[FailedCheck, ...] = (), untouched: str = "", next_step: str = ""
    ) -> None:
        super().__init__(happened, untouched=untouched, next_step=next_step)
        self.failed = failed


class FailedAfterSwitch(GateClosed):
    """A check of the committed result: nothing is taken back by itself, a person decides."""

    exit_code = 8


class AnotherRunActive(MoveError):
    exit_code = 5
    retryable = True


class NotInTime(MoveError):
    exit_code = 6
    retryable = True


class ConnectionLost(MoveError):
    exit_code = 7
    retryable = True


class Fenced(MoveError):
    exit_code = 7
    retryable = True


class ReportNotWritten(MoveError):
    exit_code = 74


class Interrupted(MoveError):
    retryable = True

    def __init__(self, happened: str, *, signal_number: int, untouched: str = "", next_step: str = "") -> None:
        super().__init__(happened, untouched=untouched, next_step=next_step)
        self.exit_code = 128 + signal_number  # type: ignore[misc]


class Bug(MoveError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"This is a bug ({name}; the trace is above).",
            untouched="What was committed stays, the open transaction was rolled back.",
            next_step="`status` shows where the move stands. Please report the trace.",
        )


EXIT_CODES: dict[int, str] = {
    0: "done, or nothing to do",
    2: "the call cannot be understood",
    3: "blocked: something has to be put right first (also wrong password, missing database or right)",
    4: "the gate is closed: a check failed, the switch is not made, the old table is kept",
    5: "another run of this move is active",
    6: "a lock or the write pause was not to be had in time",
    7: "database unreachable or connection lost: run again",
    8: "a check failed after the switch: the new table is in charge; decide between repair and rollback",
    70: "a bug: please report it",
    74: "the move stands, its report could not be written",
    129: "the terminal was closed: run again",
    130: "interrupted from the keyboard: run again",
    143: "terminated: run again",
}
