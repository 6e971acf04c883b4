"""The steps of going back: each does its part, commits, and leaves what its resume needs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.table_move.database import foreign_keys, going_back, journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.claims import clear_working_tables
from pipelines.table_move.database.removal import remove
from pipelines.table_move.database.retired import Retired, rebuild
from pipelines.table_move.outcome import Outcome, conclude
from pipelines.table_move.outlook import require_accepted
from pipelines.table_move.pure.losses import Loss, WentBack, together
from pipelines.table_move.status import Milestone, Phase, State

_LOST_UNDER_LOCKS = "The switch back was rolled back; `run` goes forward from here."
_LEFT = "Only these rows still stand in the new table."


@dataclass
class WayBack:
    """An attempt to go back under way, and what it adds up to.

    before: what attempts before it, which it completes, have taken back.
    """

    attempt: Attempt
    milestone: Milestone
    went: WentBack = field(default_factory=WentBack)
    before: WentBack = field(default_factory=WentBack)
    timings: dict[str, float] = field(default_factory=dict)
    remark: str = ""

    def return_table(self, retired_schema: str) -> None:
        with self._in("the old table returns"):
            going_back.return_table(self.attempt, retired_schema)
            self.attempt = self.attempt.relocated()
        self.milestone = Milestone.SWITCHED

    def rebuild(self, retired: Retired, archive: Path) -> None:
        with self._in("the old table is built from its archive"):
            rebuild(self.attempt, retired, archive)
            self.attempt = self.attempt.relocated()
        self.milestone = Milestone.SWITCHED

    def switch_back(self) -> None:
        with self._in("edits, references and deletions go back"):
            done = going_back.switch_back(self.attempt, accept=self._accept)
            with self.attempt.database.writing() as cursor:
                journal.note_pause(cursor, self.attempt.names.key, self.attempt.run_id, done.pause_ms)
            self.went = replace(
                self.went,
                references_back=done.references,
                merged_back=done.merged,
                deletions_back=done.deleted,
                losses=done.losses,
            )
        self.milestone = Milestone.COPYING

    def restore_foreign_keys(self) -> None:
        with self._in("freeze and foreign keys"):
            going_back.end_freeze(self.attempt)
            self.went = replace(self.went, not_validated=tuple(foreign_keys.restore(self.attempt)))

    def remove(self) -> None:
        with self._in("inserted rows leave"):
            self._late_references()
            clear_working_tables(self.attempt)
            remove(self.attempt, accept=self._accept_left, count=self._count_removed)
        self.milestone = Milestone.ROLLED_BACK

    def late_references(self) -> None:
        with self._in("late references"):
            self._late_references()

    def done(self) -> Outcome:
        return self._end(State.ROLLED_BACK)

    def failed(self, state: State, error: str) -> Outcome:
        return self._end(state, error=error)

    def _accept(self, found: tuple[Loss, ...]) -> None:
        self.went = replace(self.went, losses=found)
        require_accepted(found, self.attempt, untouched=_LOST_UNDER_LOCKS)

    def _accept_left(self, found: tuple[Loss, ...]) -> None:
        self.went = replace(self.went, losses=together(self.went.losses, found))
        require_accepted(found, self.attempt, untouched=_LEFT)

    def _end(self, state: State, *, error: str | None = None) -> Outcome:
        return conclude(
            self.attempt,
            state=state,
            phase=Phase.ROLLBACK,
            rows_written=self.went.rows_written,
            timings=self.timings,
            error=error,
            more={"rollback": self.before.and_then(self.went).as_dict()},
        )

    def _count_removed(self, rows: int) -> None:
        self.went = replace(self.went, removed=(self.went.removed or 0) + rows)

    def _late_references(self) -> None:
        late = going_back.late_references_back(self.attempt)
        self.went = replace(self.went, references_back=self.went.references_back + late)

    @contextmanager
    def _in(self, detail: str) -> Iterator[None]:
        self.attempt.watch.phase(Phase.ROLLBACK, detail)
        started = time.monotonic()
        try:
            yield
        finally:
            spent = self.timings.get(Phase.ROLLBACK, 0.0) + time.monotonic() - started
            self.timings[Phase.ROLLBACK] = round(spent, 3)
