"""The move as a runbook: phases in order, each committed before the next begins, each resumable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg2 import ProgrammingError
from psycopg2.errors import LockNotAvailable

from pipelines.table_move.code_version import code_version, mapping_fingerprint
from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt, Watch
from pipelines.table_move.database.claims import has_assigned
from pipelines.table_move.database.connect import Database, told_by_sqlstate
from pipelines.table_move.database.lock import exclusive
from pipelines.table_move.errors import AnotherRunActive, ConnectionLost, Interrupted, MoveError, ReportNotWritten
from pipelines.table_move.phases import Outcome, Phases
from pipelines.table_move.preflight import Plan, make_plan
from pipelines.table_move.quality.report import Facts, write_report
from pipelines.table_move.quality.suites import Suite, read_suites
from pipelines.table_move.settings import Settings
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Milestone, Phase, State
from pipelines.table_move.summary import Ending, summarise


def run(
    database: Database, move: Move, settings: Settings, watch: Watch, *, default_business: str | None = None
) -> Outcome:
    """Make the move, or go on with it. Raises MoveError; whatever was committed stays and the next run goes on."""
    suites = read_suites(move.suites)
    with exclusive(database, move.key_in(database.schema)) as lock_backend:
        watch.phase(Phase.PREFLIGHT)
        plan = make_plan(database, move, settings, default_business=default_business)
        plan.require_way()
        if plan.nothing_to_do:
            return _nothing_to_do(database, move, settings, plan)
        with _attempt(database, move, settings, watch, plan, suites, lock_backend) as going:
            if going.before(Milestone.SWITCHED):
                going.copy(plan.assigned)
                if settings.until == "copy":
                    return going.stopped()
                going.verify()
                if settings.until == "verify":
                    return going.stopped()
                going.switch()
            if going.before(Milestone.RETIRED):
                going.grace()
                going.retire()
            going.confirm()
            return going.done()


@contextmanager
def _attempt(
    database: Database,
    move: Move,
    settings: Settings,
    watch: Watch,
    plan: Plan,
    suites: Sequence[Suite],
    lock_backend: int,
) -> Iterator[Phases]:
    """An attempt with its row in the journal, which says how it ended however it ends."""
    going = open_attempt(database, move, settings, watch, plan, suites, lock_backend=lock_backend)
    try:
        with told_by_sqlstate(), _unless_overtaken(going):
            yield going
    except ReportNotWritten:
        raise  # how the attempt ended stands in the journal already
    except MoveError as problem:
        state = State.INTERRUPTED if isinstance(problem, Interrupted) or problem.retryable else State.STOPPED
        problem.summary = _tell(going, state, problem.happened)
        problem.untouched = f"{problem.untouched} {going.remark}".strip()
        raise
    except BaseException as problem:
        problem.summary = _tell(going, State.INTERRUPTED, f"{type(problem).__name__} {problem}".strip())
        raise


@contextmanager
def _unless_overtaken(going: Phases) -> Iterator[None]:
    """A table that another run has taken away meanwhile is no bug of this one. Raises Fenced instead."""
    try:
        yield
    except ProgrammingError:
        with going.attempt.database.writing() as cursor:
            going.attempt.hold_fence(cursor)
        raise


def _tell(going: Phases, state: State, error: str) -> Mapping[str, Any] | None:
    """Note how the attempt ended, as far as the database can still be told, and write its report."""
    try:
        return going.failed(state, error).summary
    except Exception as second:
        # The first problem is the one to report; the next attempt finds this row still running and marks it.
        going.attempt.watch.say("ending_not_noted", problem=type(second).__name__)
        return None


def open_attempt(
    database: Database,
    move: Move,
    settings: Settings,
    watch: Watch,
    plan: Plan,
    suites: Sequence[Suite],
    *,
    lock_backend: int | None = None,
) -> Phases:
    """Open the move, or take it over, with a row for this attempt. The journal is made where there is none.

    Raises AnotherRunActive where one that has lost its lock is still in the middle of a transaction after `lock_wait`.
    """
    key, facts = move.key_in(database.schema), plan.located.facts
    with _in_turn(), database.writing(patience=settings.lock_wait) as cursor:
        if not plan.journal_exists:
            journal.create(cursor)
        run_id = journal.begin(
            cursor, key, phase=Phase.PREFLIGHT, code_version=code_version(move), settings=settings.shown()
        )
        milestone = journal.take_over(
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
        if plan.row is not None and milestone is not plan.row.milestone:
            raise _moved_on(milestone)
        named = bool(plan.assigned) or has_assigned(cursor, plan.located.names)
    attempt = Attempt(
        run_id=run_id,
        database=database,
        located=plan.located,
        settings=settings,
        default_owner=plan.default_owner,
        owners_are_named=named,
        watch=watch,
        lock_backend=lock_backend,
    )
    return Phases(attempt=attempt, suites=suites, milestone=milestone)


@contextmanager
def _in_turn() -> Iterator[None]:
    try:
        yield
    except LockNotAvailable as problem:
        raise AnotherRunActive(
            "A run that has lost its lock is still in the middle of a transaction.",
            untouched="This attempt wrote nothing.",
            next_step="End its process or its sessions (pg_stat_activity shows them), then run the same command again.",
        ) from problem


def _moved_on(milestone: Milestone) -> ConnectionLost:
    """The run before, lost to its lock, committed a last time between this one's plan and its turn to write."""
    return ConnectionLost(
        f"A run that had lost its connection came to {milestone} after this one had looked.",
        untouched="This attempt wrote nothing.",
        next_step="Run the same command again: it goes on from there.",
    )


def _nothing_to_do(database: Database, move: Move, settings: Settings, plan: Plan) -> Outcome:
    """The move is done: this attempt writes its own row in `run`, and nothing else but that a killed one is over."""
    timings = plan.last_run.timings if plan.last_run is not None else {}
    with database.reading() as cursor:
        ending = Ending(run_id=None, state=State.DONE, phase=Phase.CONFIRM, rows_written=0, timings=timings, error=None)
        summary = summarise(cursor, plan.located, ending, checks=[], settings=settings, database=database)
    with database.writing() as cursor:
        journal.abandon(cursor, move.key_in(database.schema))
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
