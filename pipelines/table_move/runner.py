"""The move as a runbook: phases in order, each committed before the next begins, each resumable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines.table_move.code_version import code_version, mapping_fingerprint
from pipelines.table_move.database import journal, run_journal
from pipelines.table_move.database.anew import begin_anew
from pipelines.table_move.database.attempt import Attempt, Watch
from pipelines.table_move.database.claims import has_assigned
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.lock import exclusive
from pipelines.table_move.database.patience import look_patiently
from pipelines.table_move.database.restored import settle_in
from pipelines.table_move.database.trial import try_out
from pipelines.table_move.outcome import Outcome, idle, in_turn, moved_on, noted
from pipelines.table_move.phases import Phases
from pipelines.table_move.preflight import Plan, make_plan
from pipelines.table_move.pure import trial
from pipelines.table_move.quality.suites import Suite, read_suites
from pipelines.table_move.settings import Settings
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Milestone, Phase
from pipelines.table_move.summary import Ending


def run(
    database: Database, move: Move, settings: Settings, watch: Watch, *, default_business: str | None = None
) -> Outcome:
    """Make the move, or go on with it. Raises MoveError; whatever was committed stays and the next run goes on."""
    suites = read_suites(move.suites)
    with exclusive(database, move.key_in(database.schema)) as lock_backend:
        watch.phase(Phase.PREFLIGHT)
        plan = look_patiently(database, lambda: make_plan(database, move, settings, default_business=default_business))
        plan.require_way()
        settle_in(database, plan.located, plan.row, patience=settings.lock_wait)
        if plan.nothing_to_do and not (settings.drop and plan.row.milestone is Milestone.CONFIRMED):
            return _nothing_to_do(database, settings, plan)
        if plan.row is None or plan.row.milestone in (Milestone.COPYING, Milestone.ROLLED_BACK):
            _try_out(database, settings, watch, plan)
        going = open_attempt(database, move, settings, watch, plan, suites, lock_backend=lock_backend)
        with noted(going):
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
            if settings.drop and going.before(Milestone.PURGED):
                going.purge()
            return going.done()


def _try_out(database: Database, settings: Settings, watch: Watch, plan: Plan) -> None:
    """The move on a few rows, taken back. Raises Blocked where it would end there."""
    attempt = Attempt(
        run_id=0,
        database=database,
        located=plan.located,
        settings=settings,
        default_owner=plan.default_owner,
        owners_are_named=True,
        watch=watch,
    )
    found = try_out(attempt, assigned=plan.assigned)
    for warning in trial.warnings(found):
        watch.warn(warning)
    replace(plan, blockers=trial.blockers(found)).require_way()


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
    with in_turn(), database.writing(patience=settings.lock_wait) as cursor:
        if not plan.journal_exists:
            journal.create(cursor)
        run_id = run_journal.begin(
            cursor, key, phase=Phase.PREFLIGHT, code_version=code_version(move), settings=settings.shown()
        )
        milestone = journal.take_over(
            cursor,
            key,
            run_id,
            source_schema=database.schema,
            source_table=move.source.table,
            source_oid=facts.source.oid if facts.source is not None else plan.row.source_oid,
            target_oid=facts.target.oid,
            mapping=mapping_fingerprint(move),
            default_owner=plan.default_owner,
        )
        if plan.row is not None and milestone is not plan.row.milestone:
            raise moved_on(milestone)
        if plan.row is not None and not plan.has_begun:
            begin_anew(
                cursor,
                key,
                run_id,
                source_oid=facts.source.oid,
                target_oid=facts.target.oid,
                mapping=mapping_fingerprint(move),
            )
            milestone = Milestone.COPYING
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


def _nothing_to_do(database: Database, settings: Settings, plan: Plan) -> Outcome:
    """The move is done, or purged: this attempt writes its own row in `run`, and nothing else."""
    timings = plan.last_run.timings if plan.last_run is not None else {}
    ending = Ending(run_id=None, state=plan.state, phase=Phase.CONFIRM, rows_written=0, timings=timings, error=None)
    return idle(database, plan.located, settings, ending)
