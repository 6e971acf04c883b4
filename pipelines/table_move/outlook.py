"""The way back as it is found: where the move stands, what is in the way, what would be lost. `rollback` acts on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from psycopg2 import extensions

from pipelines.table_move import archive_files
from pipelines.table_move.database import journal, run_journal
from pipelines.table_move.database.attempt import Attempt, Watch
from pipelines.table_move.database.back_names import BackNames, back_names
from pipelines.table_move.database.catalog import Located, locate, relation
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.losses import look_since
from pipelines.table_move.database.references_back import references_due
from pipelines.table_move.database.restored import unproven
from pipelines.table_move.database.retired import Retired, load_retired, missing_roles
from pipelines.table_move.database.surroundings import look_around
from pipelines.table_move.errors import Blocked, Blocker
from pipelines.table_move.next_calls import next_calls
from pipelines.table_move.pure.back_blockers import (
    back_blockers,
    cannot_hold,
    foreign_key_owners,
    new_source,
    other_table,
    rights_on_old_rows,
)
from pipelines.table_move.pure.command_line import CommandLine
from pipelines.table_move.pure.losses import SENTENCES, Loss, Since, WentBack, losses
from pipelines.table_move.pure.world import is_switched
from pipelines.table_move.records import MoveRow, RunRow, state_of
from pipelines.table_move.settings import Settings
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Milestone, State

_SHOWN = 3  # keys of a loss in a message


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What going back would meet. `row` is None where there is no move, `attempt` where it was not looked at.

    retired, archive: what a purged table is built from, checked to the last bit.
    """

    row: MoveRow | None
    last_run: RunRow | None = None
    attempt: Attempt | None = None
    blockers: tuple[Blocker, ...] = ()
    since: Since = field(default_factory=Since)
    losses: tuple[Loss, ...] = ()
    references: int = 0
    retired: Retired | None = None
    archive: Path | None = None

    @property
    def state(self) -> State:
        """Where the move stands, as far as nobody is at it now."""
        return state_of(self.row, self.last_run, held=False)

    @property
    def is_switched(self) -> bool:
        """The new world is in force."""
        return self.row is not None and is_switched(self.row.milestone)

    @property
    def nothing_to_do(self) -> bool:
        """There is no move, or it is taken back and no reference holds a new id."""
        return self.row is None or (self.row.milestone is Milestone.ROLLED_BACK and not self.references)

    def require_way(self) -> None:
        """Raises Blocked where something is in the way."""
        if self.blockers:
            raise Blocked(
                f"The way back is blocked: {len(self.blockers)} things have to be put right first.",
                blockers=self.blockers,
                untouched="Nothing was written.",
                next_step="Then run the same command again.",
            )


def look_back(database: Database, move: Move, settings: Settings, watch: Watch) -> Outlook:
    """Look at the database, read-only, in one snapshot."""
    with database.reading() as cursor:
        row = journal.load(cursor, move.key_in(database.schema)) if journal.exists(cursor) else None
        if row is None:
            return Outlook(row=None)
        located = locate(cursor, move, database.schema, row)
        blockers = tuple(_blockers(cursor, located, row))
        if not blockers or located.facts.source is None:
            blockers += tuple(unproven(cursor, located, row))
        if blockers:
            return Outlook(row=row, blockers=blockers)
        attempt = Attempt(
            run_id=row.fence,
            database=database,
            located=located,
            settings=settings,
            default_owner=row.default_owner,
            owners_are_named=False,
            watch=watch,
        )
        retired = load_retired(cursor, move.key_in(database.schema)) if located.facts.is_purged else None
        if retired is not None and (missing := tuple(missing_roles(cursor, retired))):
            return Outlook(row=row, blockers=missing)
        archive = _checked_archive(retired, attempt) if retired is not None else None
        last = run_journal.last_run(cursor, move.key_in(database.schema))
        outlook = _with_losses(cursor, row, attempt)
        return replace(outlook, last_run=last, retired=retired, archive=archive)


def _checked_archive(retired: Retired, attempt: Attempt) -> Path:
    """The archive's folder. Raises Blocked where none is named, ArchiveUnusable where it is not the one."""
    given = attempt.settings.archive
    if given is None:
        raise Blocked(
            "The old table has been purged: going back needs its archive.",
            untouched="Nothing was changed.",
            next_step=f"It was written to {retired.folder}. Give the folder where it is now: "
            f"{_calls(attempt).line('rollback', '--archive', retired.folder)}",
        )
    place = archive_files.find(given, Path(retired.folder).name)
    archive_files.check(place, retired.manifest)
    return place


def _with_losses(cursor: extensions.cursor, row: MoveRow, attempt: Attempt) -> Outlook:
    switched = is_switched(row.milestone)
    back = back_names(cursor, attempt.located, switched=switched)
    held = tuple(_cannot_hold(cursor, back)) if switched else ()
    if held:
        return Outlook(row=row, blockers=held)
    due = references_due(cursor, back)
    since = Since() if row.milestone is Milestone.ROLLED_BACK else look_since(cursor, attempt, back)
    return Outlook(row=row, attempt=attempt, since=since, losses=losses(since, switched=switched), references=due)


def _blockers(cursor: extensions.cursor, located: Located, row: MoveRow) -> Iterator[Blocker]:
    move, facts = located.names.move, located.facts
    yield from back_blockers(move, facts, look_around(cursor, located, fresh=False))
    if facts.source is not None and facts.source.oid != row.source_oid and not row.is_restored:
        yield other_table(facts.source.label, what="began with")
    if facts.target is not None and facts.target.oid != row.target_oid and not row.is_restored:
        yield other_table(facts.target.label, what="filled")
    if facts.is_retired and relation(cursor, facts.schema, move.source.table) is not None:
        yield new_source(move, facts, retired_schema=row.retired_schema)
    yield from rights_on_old_rows(facts)
    cursor.execute(located.names.query("cutover.released"))
    tables = {table for table, *_ in cursor.fetchall()}
    yield from foreign_key_owners(facts, (relation(cursor, facts.schema, table) for table in sorted(tables)))


def _cannot_hold(cursor: extensions.cursor, back: BackNames) -> Iterator[Blocker]:
    cursor.execute(back.query("rollback.cannot_hold"))
    yield from cannot_hold(cursor.fetchall(), schema=back.names.schema)


def require_accepted(found: tuple[Loss, ...], attempt: Attempt, *, untouched: str) -> None:
    """Raises Blocked, with the complete command, where something would be lost and nobody has accepted that."""
    if not found or attempt.settings.accept_loss:
        return
    archive = [] if attempt.settings.archive is None else ["--archive", str(attempt.settings.archive)]
    calls = _calls(attempt)
    problem = Blocked(
        f"Going back leaves behind what has no place in the old table: {sum(loss.count for loss in found)} things.",
        blockers=tuple(
            Blocker(code=loss.kind, message=sentence(loss), remedy="Save what is needed of it.") for loss in found
        ),
        untouched=untouched,
        next_step=f"{calls.to('see all of it', 'rollback', *archive, '--dry-run', '--json')}\n"
        f"{calls.to('go back all the same', 'rollback', *archive, '--accept-loss')}",
    )
    problem.summary = {"rollback": WentBack(losses=found).as_dict()}
    raise problem


def sentence(loss: Loss) -> str:
    """What is lost, for people."""
    more = "" if loss.count <= _SHOWN else ", …"
    return f"{loss.count} {SENTENCES[loss.kind]}: {', '.join(loss.keys[:_SHOWN])}{more}."


def _calls(attempt: Attempt) -> CommandLine:
    return next_calls(attempt.settings, attempt.names.move)
