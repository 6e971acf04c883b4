"""The way back, transition by transition, each committed by itself. What undoes a transition is the run's own step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg2 import extensions, sql

from pipelines.table_move.database import journal
from pipelines.table_move.database.asked import require_as_asked
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.back_names import BackNames, back_names
from pipelines.table_move.database.connect import as_application
from pipelines.table_move.database.edits import merge_back
from pipelines.table_move.database.locking import READERS, ROWS, Bound, Pause, ended_by_the_server, locking, persist
from pipelines.table_move.database.losses import look_since
from pipelines.table_move.database.piecemeal import piecemeal
from pipelines.table_move.database.references_back import references_back, references_due
from pipelines.table_move.database.unchanged import require_unchanged
from pipelines.table_move.pure.losses import Loss, LossKind, losses, together
from pipelines.table_move.status import Milestone


@dataclass(frozen=True, kw_only=True)
class SwitchedBack:
    """What the switch back did; how long writers waited, in milliseconds."""

    pause_ms: float
    references: int
    merged: int
    deleted: int
    losses: tuple[Loss, ...]


def return_table(attempt: Attempt, retired_schema: str) -> None:
    """The old table, whole, back into the application's schema; it stays frozen. Undone by `cutover.retire`."""
    names = attempt.names

    def once() -> None:
        with locking(attempt, READERS, first=names.query("cutover.lock_for_retire")) as cursor:
            attempt.hold_fence(cursor)
            home = sql.Identifier(names.schema)
            cursor.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(names.source, home))
            cursor.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(retired_schema)))
            journal.reach(cursor, names.key, attempt.run_id, Milestone.SWITCHED)

    persist(attempt, once)


def switch_back(attempt: Attempt, *, accept: Callable[[tuple[Loss, ...]], None]) -> SwitchedBack:
    """From the new world in force to the old one, in one transaction in which writers wait and readers do not: edits,
    references, deletions, the end of the freeze. Undone by `cutover.switch`.

    accept: raises Blocked where the losses, found under the locks, are not accepted.
    """
    return persist(attempt, lambda: _switch_back_once(attempt, accept))


def _switch_back_once(attempt: Attempt, accept: Callable[[tuple[Loss, ...]], None]) -> SwitchedBack:
    names, settings = attempt.names, attempt.settings
    with locking(attempt, Bound(seconds=settings.max_write_pause), first=_lock(attempt)) as cursor:
        pause = Pause(settings.max_write_pause)
        with ended_by_the_server(pause):
            attempt.hold_fence(cursor)
            require_unchanged(cursor, attempt)
            back = back_names(cursor, attempt.located, switched=True)
            since = look_since(cursor, attempt, back)
            found = losses(since, switched=True)
            accept(found)
            pause.still_within()
            cursor.execute(names.query("rollback.thaw"))
            merged, unfit = merge_back(cursor, attempt, since.edits)
            references = references_back(cursor, back)
            deleted, kept = _delete_old(cursor, attempt, since.deletions)
            if unfit or kept:  # the database knows more than the catalog shows: checks, domains, triggers
                found = together(found, _losses(unfit, kept))
                accept(found)
            journal.reach(cursor, names.key, attempt.run_id, Milestone.COPYING)
            pause.still_within()
    return SwitchedBack(
        pause_ms=pause.milliseconds, references=references, merged=merged, deleted=deleted, losses=found
    )


def _lock(attempt: Attempt) -> sql.Composable:
    names = attempt.names
    tables = [names.source, *(names.table(table.table) for table in names.references)]
    locked = sql.SQL(", ").join([*tables, names.table(names.move.target.table)])
    return names.query("rollback.lock", locked=locked)


def _losses(unfit: Sequence[str], kept: Sequence[str]) -> tuple[Loss, ...]:
    return (
        Loss(kind=LossKind.DOES_NOT_FIT, keys=tuple(unfit)),
        Loss(kind=LossKind.DELETION_COMES_BACK, keys=tuple(kept)),
    )


def _delete_old(
    cursor: extensions.cursor, attempt: Attempt, source_ids: tuple[str, ...]
) -> tuple[int, tuple[str, ...]]:
    """Returns how many went, and the keys of those that the installation keeps."""

    def write(some: Sequence[str]) -> None:
        asked = {"source_ids": list(some)}
        with as_application(cursor, names.schema):
            cursor.execute(names.query("application.delete_old"), asked)
        require_as_asked(cursor, names.source, "DELETE", names.query("asked.deleted_old"), asked)

    names = attempt.names
    kept = tuple(key for key, _ in piecemeal(cursor, source_ids, write, key=str))
    return len(source_ids) - len(kept), kept


def end_freeze(attempt: Attempt) -> None:
    """Take the trigger of the freeze away, which has been disabled. Readers wait at most `lock_timeout` for this."""
    names = attempt.names

    def once() -> None:
        with locking(attempt, READERS, first=names.query("rollback.drop_freeze")) as cursor:
            attempt.hold_fence(cursor)

    with attempt.database.reading() as cursor:
        cursor.execute(names.query("rollback.has_freeze"), {"oid": attempt.located.facts.source.oid})
        is_there = cursor.fetchone()[0]
    if is_there:
        persist(attempt, once)


def late_references_back(attempt: Attempt) -> int:
    """References that were written with new ids after the old world came back. Returns how many."""

    def once() -> int:
        with locking(attempt, ROWS) as cursor:
            back = _old_world(cursor, attempt)
            if not references_due(cursor, back):
                return 0
        with locking(attempt, Bound(seconds=attempt.settings.max_write_pause), first=_lock(attempt)) as cursor:
            attempt.hold_fence(cursor)
            return references_back(cursor, _old_world(cursor, attempt))

    return persist(attempt, once)


def _old_world(cursor: extensions.cursor, attempt: Attempt) -> BackNames:
    return back_names(cursor, attempt.located, switched=False)
