"""What the journal holds, as plain values: a move, an attempt, an answer of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipelines.table_move.status import Milestone, Phase, State


@dataclass(frozen=True, kw_only=True)
class MoveRow:
    """How far a move is committed. `fence` is the run that may write; the write pause is in milliseconds.

    is_restored: the journal was written at another place (see `database.place`): its numbers of tables and transactions
        say nothing here. knows_versions: row versions tell what was written since the switch.
    """

    milestone: Milestone
    fence: int
    source_oid: int
    target_oid: int
    mapping: str
    default_owner: str | None
    retired_schema: str | None
    write_pause_ms: float | None
    knows_versions: bool = False
    is_restored: bool = False

    @property
    def has_begun(self) -> bool:
        """Rows and map of this move are there; after it was taken back, it has to begin anew."""
        return self.milestone is not Milestone.ROLLED_BACK


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """An attempt. `timings` are seconds per phase; `summary` is what the report is written from."""

    run_id: int
    state: State
    phase: Phase
    started_at: datetime
    finished_at: datetime | None
    error: str | None
    rows_written: int
    timings: dict[str, float]
    summary: dict[str, object] | None


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """One expectation of a run. `samples` are keys, never texts, at most 1000; `seconds` is its share of its suite's
    time."""

    phase: str
    suite: str
    expectation: str
    severity: str
    success: bool
    observed: str | None
    unexpected_count: int
    reason: str
    samples: list[str]
    error: str | None
    seconds: float
    remedy: str = ""

    @property
    def closes_the_gate(self) -> bool:
        """A critical one that failed, or one of any severity that raised instead of answering."""
        return not self.success and (self.severity == "critical" or self.error is not None)


def newest(checks: Sequence[CheckRow]) -> list[CheckRow]:
    """The last answer of each expectation: what a rehearsal said is overtaken by what was said later."""
    return list({(check.suite, check.expectation): check for check in checks}.values())


def state_of(row: MoveRow | None, last: RunRow | None, *, held: bool) -> State:
    """What a move is said to be. An attempt that says it is running is so only while somebody holds the lock."""
    if row is None or last is None:
        return State.RUNNING if held else State.NOT_STARTED
    if held and last.state is State.RUNNING:
        return State.RUNNING
    settled = {
        Milestone.CONFIRMED: State.DONE,
        Milestone.PURGED: State.PURGED,
        Milestone.ROLLED_BACK: State.ROLLED_BACK,
    }
    if row.milestone in settled:
        return settled[row.milestone]
    return State.INTERRUPTED if last.state is State.RUNNING else last.state
