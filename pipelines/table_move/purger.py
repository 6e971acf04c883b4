"""The purge as a runbook: the archive is written and proven, then the retired table is dropped for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from psycopg2 import extensions

from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt, Watch
from pipelines.table_move.database.catalog import Located, locate
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.lock import exclusive
from pipelines.table_move.database.patience import look_patiently
from pipelines.table_move.database.restored import settle_in, unproven
from pipelines.table_move.database.retired import Purged, purge_blockers
from pipelines.table_move.database.retired import purge as purge_table
from pipelines.table_move.database.surroundings import look_around
from pipelines.table_move.errors import Blocked, Blocker
from pipelines.table_move.outcome import Outcome, begin_verb, conclude, idle, noted
from pipelines.table_move.pure.back_blockers import back_blockers, other_table
from pipelines.table_move.records import MoveRow
from pipelines.table_move.settings import Settings
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Milestone, Phase, State
from pipelines.table_move.summary import Ending


def purge(database: Database, move: Move, settings: Settings, watch: Watch) -> Outcome:
    """Drop the retired table, once its archive is proven. Raises MoveError; until the drop is committed it is kept."""
    with exclusive(database, move.key_in(database.schema)) as lock_backend:
        watch.phase(Phase.PURGE, "look at the retired table")
        row, attempt = look_patiently(database, lambda: _look(database, move, settings, watch))
        if row.milestone is Milestone.PURGED:
            return _nothing_to_do(attempt)
        settle_in(database, attempt.located, row, patience=settings.lock_wait)
        going = Farewell(attempt=begin_verb(attempt, row, Phase.PURGE, lock_backend=lock_backend))
        with noted(going):
            going.purge()
            return going.done()


@dataclass
class Farewell:
    """A purge under way."""

    attempt: Attempt
    milestone: Milestone = Milestone.CONFIRMED
    purged: Purged | None = None
    timings: dict[str, float] = field(default_factory=dict)
    remark: str = ""

    def purge(self) -> None:
        self.attempt.watch.phase(Phase.PURGE, "archive, proof, drop")
        started = time.monotonic()
        self.purged = purge_table(self.attempt)
        self.milestone = Milestone.PURGED
        self.timings[Phase.PURGE] = round(time.monotonic() - started, 3)
        self.attempt = self.attempt.relocated()

    def done(self) -> Outcome:
        return self._end(State.PURGED)

    def failed(self, state: State, error: str) -> Outcome:
        return self._end(state, error=error)

    def _end(self, state: State, *, error: str | None = None) -> Outcome:
        return conclude(
            self.attempt,
            state=state,
            phase=Phase.PURGE,
            rows_written=self.purged.rewired if self.purged is not None else 0,
            timings=self.timings,
            error=error,
            more={"purge": None if self.purged is None else self.purged.as_dict()},
        )


def _look(database: Database, move: Move, settings: Settings, watch: Watch) -> tuple[MoveRow, Attempt]:
    key = move.key_in(database.schema)
    with database.reading() as cursor:
        row = journal.load(cursor, key) if journal.exists(cursor) else None
        if row is None or row.milestone not in (Milestone.CONFIRMED, Milestone.PURGED):
            raise Blocked(
                "There is no retired table to purge: the move is not done.",
                untouched="Nothing was written.",
                next_step="`status` shows where the move stands; `run` completes it.",
            )
        located = locate(cursor, move, database.schema, row)
        around = look_around(cursor, located, fresh=False)
        found = (
            *back_blockers(move, located.facts, around),
            *purge_blockers(cursor, located, around),
            *_other_tables(cursor, located, row),
        )
    if found and row.milestone is Milestone.CONFIRMED:
        raise Blocked(
            f"The purge is blocked: {len(found)} things have to be put right first.",
            blockers=found,
            untouched="Nothing was written: the retired table is kept.",
            next_step="Then run the same command again.",
        )
    attempt = Attempt(
        run_id=row.fence,
        database=database,
        located=located,
        settings=settings,
        default_owner=row.default_owner,
        owners_are_named=False,
        watch=watch,
    )
    return row, attempt


def _other_tables(cursor: extensions.cursor, located: Located, row: MoveRow) -> Iterator[Blocker]:
    """What is dropped has to be what a rollback could bring back: the table of this move, and the rows that moved."""
    facts = located.facts
    for table, oid, what in ((facts.source, row.source_oid, "began with"), (facts.target, row.target_oid, "filled")):
        if table is not None and table.oid != oid and not row.is_restored:
            yield other_table(table.label, what=what)
    yield from unproven(cursor, located, row)


def _nothing_to_do(attempt: Attempt) -> Outcome:
    ending = Ending(run_id=None, state=State.PURGED, phase=Phase.PURGE, rows_written=0, timings={}, error=None)
    return idle(attempt.database, attempt.located, attempt.settings, ending, more={"purge": None})
