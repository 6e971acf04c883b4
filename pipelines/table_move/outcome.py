"""How an attempt ends: its line in the journal, its summary, its report; and what is said when it does not end well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from psycopg2 import DataError, InternalError, NotSupportedError, ProgrammingError
from psycopg2.errors import LockNotAvailable

from pipelines.table_move.code_version import code_version
from pipelines.table_move.database import journal, run_journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.catalog import Located
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.locking import told_who_was_in_the_way
from pipelines.table_move.database.patience import BRIEFLY, again
from pipelines.table_move.database.refusals import told_by_sqlstate
from pipelines.table_move.database.server_error import describe
from pipelines.table_move.database.unchanged import require_unchanged
from pipelines.table_move.errors import (
    AnotherRunActive,
    ConnectionLost,
    GateClosed,
    Interrupted,
    MoveError,
    ReportNotWritten,
)
from pipelines.table_move.next_calls import next_calls
from pipelines.table_move.pure.world import is_switched
from pipelines.table_move.quality.report import Facts, write_report
from pipelines.table_move.quality.verdict import after_switch
from pipelines.table_move.records import CheckRow, MoveRow
from pipelines.table_move.settings import Settings
from pipelines.table_move.status import Milestone, Phase, State
from pipelines.table_move.summary import Ending, summarise

# How a statement can end on a table that is not what it was when the statement was written.
CHANGED_UNDER_US = (ProgrammingError, DataError, NotSupportedError, InternalError)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended: its id, its state, the summary that report and JSON show, and where the report is."""

    run_id: int | None
    state: State
    summary: Mapping[str, Any]
    report: Path | None
    nothing_to_do: bool = False


class Going(Protocol):
    """An attempt under way, whatever its verb."""

    attempt: Attempt
    milestone: Milestone
    remark: str  # what is not as it was, for the one who reads why the attempt ended

    def failed(self, state: State, error: str) -> Outcome: ...


def begin_verb(attempt: Attempt, row: MoveRow, phase: Phase, *, lock_backend: int) -> Attempt:
    """Take a move over that has begun, for another verb than `run`, with a row for this attempt."""
    names, database = attempt.names, attempt.database
    with in_turn(), database.writing(patience=attempt.settings.lock_wait) as cursor:
        run_id = run_journal.begin(
            cursor,
            names.key,
            phase=phase,
            code_version=code_version(names.move),
            settings=attempt.settings.shown(),
        )
        milestone = journal.take_over(
            cursor,
            names.key,
            run_id,
            source_schema=names.schema,
            source_table=names.move.source.table,
            source_oid=row.source_oid,
            target_oid=row.target_oid,
            mapping=row.mapping,
            default_owner=row.default_owner,
        )
        if milestone is not row.milestone:
            raise moved_on(milestone)
    return replace(attempt, run_id=run_id, lock_backend=lock_backend)


@contextmanager
def in_turn() -> Iterator[None]:
    """Raises AnotherRunActive where one that has lost its lock keeps us waiting."""
    try:
        yield
    except LockNotAvailable as problem:
        raise AnotherRunActive(
            "A run that has lost its lock is still in the middle of a transaction.",
            untouched="This attempt wrote nothing.",
            next_step="End its process or its sessions (pg_stat_activity shows them), then run the same command again.",
        ) from problem


def moved_on(milestone: Milestone) -> ConnectionLost:
    """The run before, lost to its lock, committed a last time between this one's plan and its turn to write."""
    return ConnectionLost(
        f"A run that had lost its connection came to {milestone} after this one had looked.",
        untouched="This attempt wrote nothing.",
        next_step="Run the same command again: it goes on from there.",
    )


def conclude(
    attempt: Attempt,
    *,
    state: State,
    phase: Phase,
    rows_written: int,
    timings: Mapping[str, float],
    error: str | None,
    more: Mapping[str, Any] | None = None,
) -> Outcome:
    """Note the end in the journal and write the report. more: what the verb adds to the summary."""
    ending = Ending(
        run_id=attempt.run_id, state=state, phase=phase, rows_written=rows_written, timings=timings, error=error
    )
    checks, summary = again(lambda: _counted(attempt, ending), seconds=min(attempt.settings.lock_wait, BRIEFLY))
    summary |= more or {}
    with attempt.database.writing() as cursor:
        run_journal.finish(
            cursor,
            attempt.run_id,
            state=state,
            phase=phase,
            error=error,
            rows_written=rows_written,
            timings=timings,
            summary=summary,
        )
    report = write_report(Facts(summary=summary, checks=checks), attempt.settings.report_dir)
    return Outcome(run_id=attempt.run_id, state=state, summary={**summary, "report": str(report)}, report=report)


def _counted(attempt: Attempt, ending: Ending) -> tuple[list[CheckRow], dict[str, Any]]:
    with attempt.database.reading() as cursor:
        checks = run_journal.checks(cursor, attempt.run_id)
        return checks, summarise(
            cursor, attempt.located, ending, checks=checks, settings=attempt.settings, database=attempt.database
        )


def idle(
    database: Database, located: Located, settings: Settings, ending: Ending, *, more: Mapping[str, Any] | None = None
) -> Outcome:
    """Nothing was to do: the attempt writes its own row in `run`, and nothing else."""
    move = located.names.move
    with database.reading() as cursor:
        summary = summarise(cursor, located, ending, checks=[], settings=settings, database=database)
    summary |= more or {}
    with database.writing() as cursor:
        run_journal.abandon(cursor, move.key_in(database.schema))
        run_id = run_journal.note_idle_run(
            cursor,
            move.key_in(database.schema),
            state=ending.state,
            phase=ending.phase,
            code_version=code_version(move),
            settings=settings.shown(),
            summary=summary,
        )
    summary["run_id"] = run_id
    report = write_report(Facts(summary=summary, checks=[]), settings.report_dir)
    return Outcome(
        run_id=run_id,
        state=State(ending.state),
        summary={**summary, "report": str(report)},
        report=report,
        nothing_to_do=True,
    )


@contextmanager
def noted(going: Going) -> Iterator[None]:
    """However the work in it ends, the attempt's row in the journal says so."""
    try:
        with told_by_sqlstate(), told_who_was_in_the_way(going.attempt), _unless_overtaken(going):
            yield
    except ReportNotWritten:
        raise  # how the attempt ended stands in the journal already
    except MoveError as problem:
        state = State.INTERRUPTED if isinstance(problem, Interrupted) or problem.retryable else State.STOPPED
        problem.summary = _tell(going, state, problem.happened)
        problem.untouched = f"{problem.untouched} {going.remark}".strip()
        if isinstance(problem, GateClosed) and is_switched(going.milestone):
            raise after_switch(problem, next_calls(going.attempt.settings, going.attempt.names.move)) from problem
        raise
    except BaseException as problem:
        problem.summary = _tell(going, State.INTERRUPTED, describe(problem))
        raise


@contextmanager
def _unless_overtaken(going: Going) -> Iterator[None]:
    """A table that somebody has taken away or changed meanwhile is no bug of ours. Raises Fenced or Blocked instead."""
    try:
        yield
    except CHANGED_UNDER_US:
        with going.attempt.database.writing() as cursor:
            going.attempt.hold_fence(cursor)
            require_unchanged(cursor, going.attempt)
        raise


def _tell(going: Going, state: State, error: str) -> Mapping[str, Any] | None:
    """Note how the attempt ended, as far as the database can still be told, and write its report."""
    try:
        return going.failed(state, error).summary
    except Exception as second:
        # The first problem is the one to report; the next attempt finds this row still running and marks it.
        going.attempt.watch.say("ending_not_noted", problem=describe(second))
        return None
