"""Preflight: everything that could stop the move later is looked at now. `plan` shows what `run` acts on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from psycopg2 import extensions

from pipelines.table_move.database import census, journal, run_journal
from pipelines.table_move.database.catalog import Located, locate
from pipelines.table_move.database.census import Question
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.retired import purge_blockers
from pipelines.table_move.database.rewire import late_references
from pipelines.table_move.database.surroundings import look_around
from pipelines.table_move.errors import Blocked, Blocker, FailedCheck, GateClosed
from pipelines.table_move.next_calls import next_calls
from pipelines.table_move.obstacles import obstacles
from pipelines.table_move.owner_questions import (
    default_owner,
    missing_owner,
    other_owner,
    owners_file,
    unknown_assigned,
)
from pipelines.table_move.pure import estimate
from pipelines.table_move.pure.foreseen import foreseen
from pipelines.table_move.pure.warnings import about_references, about_rows, warnings
from pipelines.table_move.records import MoveRow, RunRow, state_of
from pipelines.table_move.settings import Settings
from pipelines.table_move.spec import Move
from pipelines.table_move.status import DONE, Counts, Milestone, ReferenceCounts, State


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A move as it was found: where it stands, what is in the way, what a run would do. `run` acts on this object."""

    located: Located
    journal_exists: bool
    row: MoveRow | None
    last_run: RunRow | None
    blockers: tuple[Blocker, ...] = ()
    warnings: tuple[str, ...] = ()
    default_owner: str | None = None
    assigned: Mapping[str, str] | None = None
    counts: Counts = field(default_factory=Counts)
    rules: Mapping[str, int] = field(default_factory=dict)
    references: ReferenceCounts = field(default_factory=ReferenceCounts)
    late_references: int = 0
    slowness: float = 1
    closing: tuple[FailedCheck, ...] = ()

    @property
    def has_begun(self) -> bool:
        """Rows of the move are there: it was begun, and not taken back since."""
        return self.row is not None and self.row.has_begun

    @property
    def nothing_to_do(self) -> bool:
        """The move is done, and no reference with an old id has appeared since."""
        return self.has_begun and self.row.milestone in DONE and self.late_references == 0

    @property
    def expected_seconds(self) -> float:
        return estimate.expected_seconds(**self._size)

    @property
    def expected_pause_seconds(self) -> float:
        return estimate.expected_pause_seconds(**self._size)

    @property
    def _size(self) -> dict[str, float]:
        return {
            "rows": self.counts.source_rows,
            "references": self.references.to_rewire,
            "slowness": self.slowness,
        }

    @property
    def state(self) -> State:
        """Where the move stands, as far as nobody is at it now."""
        return state_of(self.row, self.last_run, held=False)

    def blocked(self) -> Blocked:
        """Everything that is in the way, as one error."""
        return Blocked(
            f"The move is blocked: {len(self.blockers)} things have to be put right first.",
            blockers=self.blockers,
            untouched="Nothing was written.",
            next_step="Then run the same command again.",
        )

    def require_way(self) -> None:
        """Raises Blocked where something is in the way."""
        if self.blockers:
            raise self.blocked()

    def gate_closing(self) -> GateClosed:
        """What is going to close the gate, as one error."""
        return GateClosed(
            "The gate is going to close: a run would copy, check and stop before the switch.",
            failed=self.closing,
            untouched="Nothing was written.",
            next_step="Put this right, then call `plan` again; `run --until verify` copies, and lists the rows.",
        )


def make_plan(database: Database, move: Move, settings: Settings, *, default_business: str | None) -> Plan:
    """Look at the database, read-only, in one snapshot."""
    assigned = owners_file(move, settings)
    with database.reading() as cursor:
        plan = _look(cursor, move, database.schema, drop=settings.drop)
        if plan.blockers:
            return plan
        owner, problems = default_owner(cursor, plan.located, plan.row, default_business)
        question = Question(
            default_owner=owner,
            assigned=assigned,
            has_journal=plan.journal_exists,
            keep_target=settings.on_conflict == "keep-target",
        )
        if assigned is not None:
            problems += unknown_assigned(cursor, plan.located, question)
        if plan.has_begun and not problems:
            problems += other_owner(cursor, plan.located, question, plan.row, given=default_business)
        plan = replace(plan, blockers=tuple(problems), default_owner=owner, assigned=assigned)
        return _resumed(cursor, plan, settings) if plan.has_begun else _predicted(cursor, plan, question, settings)


def _look(cursor: extensions.cursor, move: Move, schema: str, *, drop: bool) -> Plan:
    """Tables, rights, surroundings, journal: all but the rows. drop: the old table is to be purged in the end."""
    has_journal, key = journal.exists(cursor), move.key_in(schema)
    row = journal.load(cursor, key) if has_journal else None
    located = locate(cursor, move, schema, row)
    begun = row if row is not None and row.has_begun else None
    around = look_around(cursor, located, fresh=begun is None)
    found = obstacles(cursor, located, around, begun, has_journal=has_journal)
    if drop and not found and not located.facts.is_purged:
        found += purge_blockers(cursor, located, replace(around, dependents=()))
    return Plan(
        located=located,
        journal_exists=has_journal,
        row=row,
        last_run=run_journal.last_run(cursor, key) if has_journal else None,
        blockers=tuple(found),
        warnings=warnings(move, located.facts, around),
    )


def _resumed(cursor: extensions.cursor, plan: Plan, settings: Settings) -> Plan:
    """What the map says of a move that has begun."""
    names = plan.located.names
    counts, references = census.counts(cursor, names), census.reference_counts(cursor, names)
    is_to_come = plan.row.milestone is Milestone.COPYING
    return replace(
        plan,
        counts=counts,
        references=references,
        late_references=late_references(cursor, names),
        closing=_closing(counts, references, settings) if is_to_come else (),
    )


def _closing(counts: Counts, references: ReferenceCounts, settings: Settings) -> tuple[FailedCheck, ...]:
    keep_target = settings.on_conflict == "keep-target"
    return foreseen(counts, references, allow_dangling=settings.allow_dangling, keep_target=keep_target)


def _predicted(cursor: extensions.cursor, plan: Plan, question: Question, settings: Settings) -> Plan:
    """What a move would meet that has not begun."""
    located = plan.located
    found = census.predict(cursor, located.names, question)
    missing = []
    if found.unowned and not plan.blockers:
        calls = next_calls(settings, located.names.move)
        missing = [missing_owner(cursor, located, question, found.unowned, calls)]
    said = about_references(located.facts, found.references, allow_dangling=settings.allow_dangling)
    return replace(
        plan,
        blockers=(*plan.blockers, *missing),
        warnings=(*plan.warnings, *said, *about_rows(found.counts)),
        counts=found.counts,
        rules=found.rules,
        references=found.references,
        closing=_closing(found.counts, found.references, settings),
        slowness=estimate.slowness(found.seconds, looked_at=found.counts.source_rows + found.references.total),
    )
