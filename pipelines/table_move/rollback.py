"""The way back as a runbook: the run's transitions the other way, each committed by itself, each resumable; from each
of them `run` can go forward again."""

from __future__ import annotations

from pipelines.table_move.database import run_journal
from pipelines.table_move.database.attempt import Attempt, Watch
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.lock import exclusive
from pipelines.table_move.database.patience import look_patiently
from pipelines.table_move.database.restored import settle_in
from pipelines.table_move.outcome import Outcome, begin_verb, idle, noted
from pipelines.table_move.outlook import Outlook, look_back, require_accepted
from pipelines.table_move.pure.losses import WentBack
from pipelines.table_move.settings import Settings
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Milestone, Phase, State
from pipelines.table_move.summary import Ending
from pipelines.table_move.way_back import WayBack


def rollback(database: Database, move: Move, settings: Settings, watch: Watch) -> Outcome:
    """Bring the old world back, with its data. Raises MoveError; whatever was committed stays and the next call, of
    `rollback` or of `run`, goes on from there."""
    with exclusive(database, move.key_in(database.schema)) as lock_backend:
        watch.phase(Phase.ROLLBACK, "look at what became of rows and references")
        outlook = look_patiently(database, lambda: look_back(database, move, settings, watch))
        outlook.require_way()
        if outlook.nothing_to_do:
            return _nothing_to_do(database, move, settings, outlook)
        require_accepted(outlook.losses, outlook.attempt, untouched="Nothing was changed.")
        settle_in(database, outlook.attempt.located, outlook.row, patience=settings.lock_wait)
        attempt = begin_verb(outlook.attempt, outlook.row, Phase.ROLLBACK, lock_backend=lock_backend)
        going = WayBack(attempt=attempt, milestone=outlook.row.milestone, went=WentBack(losses=outlook.losses))
        if going.milestone is Milestone.COPYING:
            going.before = _before(attempt)
        with noted(going):
            if going.milestone is Milestone.PURGED:
                going.rebuild(outlook.retired, outlook.archive)
            if going.milestone in (Milestone.RETIRED, Milestone.CONFIRMED):
                going.return_table(outlook.row.retired_schema)
            if going.milestone is Milestone.SWITCHED:
                going.switch_back()
            if going.milestone is Milestone.COPYING:
                going.restore_foreign_keys()
                going.remove()
            else:
                going.late_references()
            return going.done()


def _before(attempt: Attempt) -> WentBack:
    """What earlier attempts of this way back did, after they had brought the old world back."""
    with attempt.database.reading() as cursor:
        told = run_journal.went_back(cursor, attempt.names.key, attempt.run_id)
    return WentBack() if told is None else WentBack.of_json(told)


def preview(database: Database, move: Move, settings: Settings, watch: Watch) -> tuple[Outlook, WentBack]:
    """What `rollback` would do and what would be lost. Writes nothing."""
    outlook = look_patiently(database, lambda: look_back(database, move, settings, watch))
    outlook.require_way()
    return outlook, WentBack(
        references_back=outlook.references,
        merged_back=len(outlook.since.edits) - len(outlook.since.unfit) if outlook.is_switched else 0,
        deletions_back=len(outlook.since.deletions),
        removed=None,
        losses=outlook.losses,
    )


def _nothing_to_do(database: Database, move: Move, settings: Settings, outlook: Outlook) -> Outcome:
    """Where a move is rolled back already, this attempt writes its own row in `run`; else nothing at all."""
    told = WentBack().as_dict()
    if outlook.row is None:
        summary = {"state": State.NOT_STARTED, "phase": Phase.ROLLBACK, "rollback": told}
        return Outcome(run_id=None, state=State.NOT_STARTED, summary=summary, report=None, nothing_to_do=True)
    ending = Ending(run_id=None, state=State.ROLLED_BACK, phase=Phase.ROLLBACK, rows_written=0, timings={}, error=None)
    return idle(database, outlook.attempt.located, settings, ending, more={"rollback": told})
