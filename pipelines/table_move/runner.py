"""The move as a runbook: phases in order, each committed before the next begins, each resumable."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.table_move.database import cutover, journal
from pipelines.table_move.database.attempt import Attempt, Watch
from pipelines.table_move.database.catch_up import catch_up
from pipelines.table_move.database.connect import Database, told_by_sqlstate
from pipelines.table_move.database.copy import clear_claims, copy
from pipelines.table_move.database.journal import CheckRow
from pipelines.table_move.database.lock import exclusive
from pipelines.table_move.errors import GateClosed, Interrupted, MoveError, NotInTime
from pipelines.table_move.preflight import Plan, make_plan, mapping_fingerprint
from pipelines.table_move.quality import gate
from pipelines.table_move.quality.gate import Standing
from pipelines.table_move.quality.report import Facts, write_report
from pipelines.table_move.quality.suites import Suite, read_suites
from pipelines.table_move.settings import Settings
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Milestone, Phase, State
from pipelines.table_move.summary import Ending, code_version, summarise


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended: its id, its state, the summary that report and JSON show, and where the report is."""

    run_id: int
    state: State
    summary: Mapping[str, Any]
    report: Path
    nothing_to_do: bool = False


def run(
    database: Database, move: Move, settings: Settings, watch: Watch, *, default_business: str | None = None
) -> Outcome:
    """Make the move, or go on with it. Raises MoveError; whatever was committed stays and the next run goes on."""
    suites = read_suites(move.suites)
    with exclusive(database, move.key_in(database.schema)):
        watch.phase(Phase.PREFLIGHT)
        plan = make_plan(database, move, settings, default_business=default_business)
        plan.require_way()
        if plan.nothing_to_do:
            return _nothing_to_do(database, move, settings, plan)
        with _attempt(database, move, settings, watch, plan, suites) as going:
            if going.before(Milestone.SWITCHED):
                going.copy()
                if settings.until == "copy":
                    return going.stopped()
                going.verify()
                if settings.until == "verify":
                    return going.stopped()
                going.switch()
                going.grace()
            if going.before(Milestone.RETIRED):
                going.retire()
            going.confirm()
            return going.done()


@dataclass
class _Going:
    """An attempt under way: the phases of the runbook, and what they add up to."""

    attempt: Attempt
    plan: Plan
    suites: Sequence[Suite]
    milestone: Milestone
    phase: Phase = Phase.PREFLIGHT
    rows_written: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    checks: list[CheckRow] = field(default_factory=list)

    def before(self, milestone: Milestone) -> bool:
        order = list(Milestone)
        return order.index(self.milestone) < order.index(milestone)

    def copy(self) -> None:
        with self._in(Phase.COPY):
            gate.warm_up()
            self.rows_written += copy(self.attempt)

    def verify(self) -> None:
        """A rehearsal: what moved during the copy is settled, and the gate is asked before anybody has to wait."""
        with self._in(Phase.VERIFY):
            self.rows_written += catch_up(self.attempt)
            self._check(self.suites)

    def switch(self) -> None:
        with self._in(Phase.CUTOVER):
            cutover.release(self.attempt)
            try:
                switched = cutover.switch(self.attempt, lambda: self._check(self.suites))
            except (GateClosed, NotInTime):
                cutover.restore(self.attempt)
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
            schema = cutover.retire(self.attempt)
            self._source_is_in(schema)
        self.milestone = Milestone.RETIRED

    def confirm(self) -> None:
        with self._in(Phase.CONFIRM):
            self.rows_written += cutover.rewire_late(self.attempt)
            self._check([suite for suite in self.suites if suite.subject in ("references", "reconciliation")])
            clear_claims(self.attempt)
            if self.before(Milestone.CONFIRMED):
                with self.attempt.database.writing() as cursor:
                    journal.reach(cursor, self.attempt.names.key, self.attempt.run_id, Milestone.CONFIRMED)
        self.milestone = Milestone.CONFIRMED

    def done(self) -> Outcome:
        return self._end(State.DONE)

    def stopped(self) -> Outcome:
        return self._end(State.STOPPED)

    def failed(self, state: State, error: str) -> Outcome:
        return self._end(state, error=error)

    def _end(self, state: State, *, error: str | None = None) -> Outcome:
        attempt = self.attempt
        with attempt.database.reading() as cursor:
            summary = summarise(
                cursor,
                attempt.located,
                Ending(
                    run_id=attempt.run_id,
                    state=state,
                    phase=self.phase,
                    rows_written=self.rows_written,
                    timings=self.timings,
                    error=error,
                ),
                checks=self.checks,
                settings=attempt.settings,
                database=attempt.database,
            )
        with attempt.database.writing() as cursor:
            journal.finish(
                cursor,
                attempt.run_id,
                state=state,
                phase=self.phase,
                error=error,
                rows_written=self.rows_written,
                timings=self.timings,
                summary=summary,
            )
        report = write_report(Facts(summary=summary, checks=self.checks), attempt.settings.report_dir)
        return Outcome(run_id=attempt.run_id, state=state, summary={**summary, "report": str(report)}, report=report)

    def _check(self, suites: Sequence[Suite]) -> None:
        attempt = self.attempt
        standing = Standing(
            switched=self.milestone is not Milestone.COPYING,
            settled=self.milestone is Milestone.CONFIRMED,
            dangling_allowed=attempt.settings.allow_dangling,
        )
        rows = gate.run_suites(attempt.database, attempt.names, suites, phase=self.phase, standing=standing)
        with attempt.database.writing() as cursor:
            attempt.hold_fence(cursor)
            journal.add_checks(cursor, attempt.run_id, rows)
        self.checks = [row for row in self.checks if row.phase != self.phase] + rows
        gate.require_open(rows)

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
            journal.enter_phase(cursor, self.attempt.run_id, phase)
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[phase] = round(time.monotonic() - started, 3)


@contextmanager
def _attempt(
    database: Database, move: Move, settings: Settings, watch: Watch, plan: Plan, suites: Sequence[Suite]
) -> Iterator[_Going]:
    """An attempt with its row in the journal, which says how it ended however it ends."""
    going = _open(database, move, settings, watch, plan, suites)
    try:
        with told_by_sqlstate():
            yield going
    except MoveError as problem:
        state = State.INTERRUPTED if isinstance(problem, Interrupted) or problem.retryable else State.STOPPED
        problem.summary = _tell(going, state, problem.happened)
        raise
    except BaseException as problem:
        _tell(going, State.INTERRUPTED, f"{type(problem).__name__}")
        raise


def _tell(going: _Going, state: State, error: str) -> Mapping[str, Any] | None:
    """Note how the attempt ended, as far as the database can still be told, and write its report."""
    try:
        return going.failed(state, error).summary
    except Exception as second:
        # The first problem is the one to report; the next attempt finds this row still running and marks it.
        going.attempt.watch.say("ending_not_noted", problem=type(second).__name__)
        return None


def _open(
    database: Database, move: Move, settings: Settings, watch: Watch, plan: Plan, suites: Sequence[Suite]
) -> _Going:
    key, facts = move.key_in(database.schema), plan.located.facts
    with database.writing() as cursor:
        if not plan.journal_exists:
            journal.create(cursor)
        run_id = journal.begin(
            cursor, key, phase=Phase.PREFLIGHT, code_version=code_version(move), settings=settings.shown()
        )
        journal.take_over(
            cursor,
            key,
            run_id,
            source_schema=database.schema,
            source_table=move.source.table,
            source_oid=facts.source.oid,
            target_oid=facts.target.oid,
            mapping=mapping_fingerprint(move),
            default_owner=plan.default_owner,
        )
    attempt = Attempt(
        run_id=run_id,
        database=database,
        located=plan.located,
        settings=settings,
        default_owner=plan.default_owner,
        watch=watch,
    )
    milestone = plan.row.milestone if plan.row is not None else Milestone.COPYING
    return _Going(attempt=attempt, plan=plan, suites=suites, milestone=milestone)


def _nothing_to_do(database: Database, move: Move, settings: Settings, plan: Plan) -> Outcome:
    """The move is done: this attempt writes its own row in `run`, and nothing else."""
    timings = plan.last_run.timings if plan.last_run is not None else {}
    with database.reading() as cursor:
        ending = Ending(run_id=None, state=State.DONE, phase=Phase.CONFIRM, rows_written=0, timings=timings, error=None)
        summary = summarise(cursor, plan.located, ending, checks=[], settings=settings, database=database)
    with database.writing() as cursor:
        run_id = journal.note_idle_run(
            cursor,
            move.key_in(database.schema),
            code_version=code_version(move),
            settings=settings.shown(),
            summary=summary,
        )
    summary["run_id"] = run_id
    report = write_report(Facts(summary=summary, checks=[]), settings.report_dir)
    return Outcome(
        run_id=run_id, state=State.DONE, summary={**summary, "report": str(report)}, report=report, nothing_to_do=True
    )
