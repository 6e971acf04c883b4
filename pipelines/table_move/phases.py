"""The phases of a run: each does its part, notes it in the journal, and leaves what its resume needs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from psycopg2 import Error, extensions

from pipelines.table_move.database import cutover, foreign_keys, journal, run_journal, versions
from pipelines.table_move.database.adopt import adopt
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.catalog import locate
from pipelines.table_move.database.catch_up import catch_up
from pipelines.table_move.database.claims import assign_owners, build_claims, clear_working_tables
from pipelines.table_move.database.copy import copy
from pipelines.table_move.database.frozen import require_as_frozen
from pipelines.table_move.database.locking import persist
from pipelines.table_move.database.patience import BRIEFLY
from pipelines.table_move.database.retired import Purged, purge
from pipelines.table_move.database.rewire import plan_changes
from pipelines.table_move.database.surroundings import look_around
from pipelines.table_move.database.unchanged import require_unchanged
from pipelines.table_move.errors import Blocked, Fenced, GateClosed, MoveError, NotInTime
from pipelines.table_move.obstacles import obstacles
from pipelines.table_move.outcome import Outcome, conclude
from pipelines.table_move.pure.world import is_switched
from pipelines.table_move.quality import gate
from pipelines.table_move.quality.subjects import Standing
from pipelines.table_move.quality.suites import Suite
from pipelines.table_move.quality.verdict import require_open
from pipelines.table_move.status import DONE, Milestone, Phase, State


@dataclass
class Phases:
    """An attempt under way: the phases of the runbook, and what they add up to.

    settled: what older transactions wrote (see `versions`) is in target and map; None: this attempt has not looked.
    """

    attempt: Attempt
    suites: Sequence[Suite]
    milestone: Milestone
    phase: Phase = Phase.PREFLIGHT
    rows_written: int = 0
    settled: int | None = None
    timings: dict[str, float] = field(default_factory=dict)
    remark: str = ""  # what is not as it was, for the one who reads why the attempt ended
    purged: Purged | None = None

    def before(self, milestone: Milestone) -> bool:
        order = list(Milestone)
        return order.index(self.milestone) < order.index(milestone)

    def copy(self, assigned: Mapping[str, str] | None = None) -> None:
        """assigned: owners that a person names in this call, by source id; None leaves those of an earlier one."""
        with self._in(Phase.COPY):
            if assigned is not None:
                assign_owners(self.attempt, assigned)
            if self.attempt.settings.until != "copy":
                gate.warm_up()
            persist(self.attempt, lambda: build_claims(self.attempt))
            persist(self.attempt, lambda: adopt(self.attempt))
            self.rows_written += copy(self.attempt)

    def verify(self) -> None:
        """A rehearsal: what moved during the copy is settled, and the gate is asked before anybody has to wait."""
        with self._in(Phase.VERIFY):
            now = self._now()
            self.rows_written += catch_up(self.attempt)
            self._note_settled(now)
            persist(self.attempt, lambda: plan_changes(self.attempt))
            with self.attempt.database.reading() as cursor:
                require_unchanged(cursor, self.attempt)
            persist(self.attempt, lambda: self._check(self.suites))

    def switch(self) -> None:
        with self._in(Phase.CUTOVER):
            foreign_keys.release(self.attempt)
            try:
                # What only warns was asked in the rehearsal: nobody has to wait for it now.
                critical = [suite.critical() for suite in self.suites]
                with gate.opened(self.attempt.database, patience=self.attempt.settings.max_write_pause) as ready:
                    switched = cutover.switch(
                        self.attempt,
                        since=self.settled,
                        look_again=self._look_again,
                        check=lambda: self._check(critical, ready),
                        give_up=ready.stop,
                    )
            except (Blocked, GateClosed, NotInTime):
                self._bring_foreign_keys_back()
                raise
            self.rows_written += switched.rows_written
            self.attempt.watch.say("switched", write_pause_ms=round(switched.pause_ms))
        self.milestone = Milestone.SWITCHED

    def grace(self) -> None:
        """Whoever read an old id just before the switch can still look it up."""
        with self._in(Phase.GRACE):
            time.sleep(self.attempt.settings.grace)

    def retire(self) -> None:
        with self._in(Phase.RETIRE):
            with self.attempt.database.reading() as cursor:
                require_as_frozen(cursor, self.attempt.located)
            schema = cutover.retire(self.attempt)
            self._source_is_in(schema)
        self.milestone = Milestone.RETIRED

    def confirm(self) -> None:
        with self._in(Phase.CONFIRM):
            self.rows_written += cutover.rewire_late(self.attempt)
            asked = [suite for suite in self.suites if suite.subject in ("references", "reconciliation")]
            persist(self.attempt, lambda: self._check(asked))
            clear_working_tables(self.attempt)
            if self.before(Milestone.CONFIRMED):
                with self.attempt.database.writing() as cursor:
                    journal.reach(cursor, self.attempt.names.key, self.attempt.run_id, Milestone.CONFIRMED)
                self.milestone = Milestone.CONFIRMED

    def purge(self) -> None:
        with self._in(Phase.PURGE):
            self.purged = purge(self.attempt)
            self.rows_written += self.purged.rewired
            self.attempt = self.attempt.relocated()
        self.milestone = Milestone.PURGED

    def done(self) -> Outcome:
        return self._end(State.PURGED if self.milestone is Milestone.PURGED else State.DONE)

    def stopped(self) -> Outcome:
        self._tidy_up()
        return self._end(State.STOPPED)

    def failed(self, state: State, error: str) -> Outcome:
        self._tidy_up()
        return self._end(state, error=error)

    def _tidy_up(self) -> None:
        """What an attempt that does not come to its end would leave behind; where that fails, the next one does it."""
        with suppress(MoveError, Error):
            clear_working_tables(self.attempt)
        self._bring_foreign_keys_back()

    def _bring_foreign_keys_back(self) -> None:
        """What this attempt, or a killed one before it, took away for a switch that did not happen."""
        if not self.before(Milestone.SWITCHED):
            return
        briefly = self.attempt.settings.model_copy(update={"lock_wait": min(self.attempt.settings.lock_wait, BRIEFLY)})
        try:
            broken = foreign_keys.restore(replace(self.attempt, settings=briefly))
        except Fenced:
            return  # they are the business of the run that took over
        except (MoveError, Error):
            self.remark = "Foreign keys to the old table are still away: the next run puts them back, or goes on."
            return
        if broken:
            self.remark = f"Foreign keys came back NOT VALID, because rows violate them: {', '.join(broken)}."

    def _end(self, state: State, *, error: str | None = None) -> Outcome:
        return conclude(
            self.attempt,
            state=state,
            phase=self.phase,
            rows_written=self.rows_written,
            timings=self.timings,
            error=error,
            more={} if self.purged is None else {"purge": self.purged.as_dict()},
        )

    def _look_again(self, cursor: extensions.cursor) -> None:
        """The tables under the locks are those of the plan, and nothing has appeared that would be in the way."""
        require_unchanged(cursor, self.attempt)
        names = self.attempt.names
        row = journal.load(cursor, names.key)
        located = locate(cursor, names.move, names.schema, row)
        if located.facts.foreign_keys:
            new = ", ".join(f"{key.name} of {key.schema}.{key.table}" for key in located.facts.foreign_keys)
            raise Blocked(
                f"Foreign keys to {located.facts.source.label} have come since the others left for the switch: {new}.",
                untouched="The switch was rolled back.",
                next_step="Run the same command again: they leave with the others.",
            )
        around = look_around(cursor, located, fresh=False)
        if found := obstacles(cursor, located, around, row, has_journal=True):
            raise Blocked(
                "Something has appeared since the move began that stands in the way of the switch.",
                blockers=tuple(found),
                untouched="The switch was rolled back.",
                next_step="Then run the same command again.",
            )

    def _check(self, suites: Sequence[Suite], ready: gate.Gate | None = None) -> None:
        """ready: a gate that is open already, where nobody should have to wait for it."""
        attempt = self.attempt
        standing = Standing(
            settled_until=self.settled if self.phase is Phase.VERIFY else None,
            touched=self.phase is Phase.CUTOVER,
            switched=is_switched(self.milestone),
            settled=self.milestone in DONE,
            dangling_allowed=attempt.settings.allow_dangling,
        )
        ask = ready.ask if ready is not None else partial(gate.run_suites, attempt.database)
        rows = ask(attempt.names, suites, phase=self.phase, standing=standing)
        with attempt.database.writing() as cursor:
            attempt.hold_fence(cursor)
            run_journal.add_checks(cursor, attempt.run_id, rows)
        require_open(rows)

    def _now(self) -> int:
        with self.attempt.database.reading() as cursor:
            return versions.now(cursor)

    def _note_settled(self, until: int) -> None:
        self.settled = until
        with self.attempt.database.writing() as cursor:
            journal.note_settled(cursor, self.attempt.names.key, self.attempt.run_id, until)

    def _source_is_in(self, schema: str) -> None:
        located = self.attempt.located
        self.attempt = replace(
            self.attempt, located=replace(located, names=replace(located.names, source_schema=schema))
        )

    @contextmanager
    def _in(self, phase: Phase) -> Iterator[None]:
        self.phase = phase
        self.attempt.watch.phase(phase)
        with self.attempt.database.writing() as cursor:
            self.attempt.hold_fence(cursor)
            run_journal.enter_phase(cursor, self.attempt.run_id, phase)
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[phase] = round(time.monotonic() - started, 3)
