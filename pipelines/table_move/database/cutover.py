"""The cutover: references switch at once, the old table retires. Each with its lock discipline."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from psycopg2 import extensions, sql

from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.catch_up import catch_up, settle_touched, target_has_moved, touch_target
from pipelines.table_move.database.frozen import require_frozen
from pipelines.table_move.database.locking import (
    READERS,
    ROWS,
    Bound,
    Pause,
    ended_by_the_server,
    lock_at_once,
    locking,
    persist,
    unlock,
)
from pipelines.table_move.database.rewire import carry_out, plan_changes, rewire
from pipelines.table_move.database.unchanged import require_unchanged
from pipelines.table_move.database.workers import beside
from pipelines.table_move.errors import GateClosed
from pipelines.table_move.status import Milestone


@dataclass(frozen=True, kw_only=True)
class Switched:
    """What a switch did: how long writers waited, from the locks to the answered commit, and what it wrote."""

    pause_ms: float
    rows_written: int


def switch(
    attempt: Attempt,
    *,
    since: int,
    look_again: Callable[[extensions.cursor], None],
    check: Callable[[], None],
    give_up: Callable[[], None],
) -> Switched:
    """The switch, tried until `lock_wait` is over.

    since: what is older (see `versions`) has been settled, checked and planned: only what has moved since is looked at.
    look_again: raises Blocked where the tables are no longer what the plan found; called under their locks.
    check: runs the suites on what has moved and raises GateClosed; called while writers are excluded, on a thread of
        its own beside the change of the references.
    give_up: ends `check` early, because nobody waits for its answer any more; for another thread.
    """
    return persist(attempt, lambda: _switch_once(attempt, since, look_again, partial(beside, check, give_up)))


def _switch_once(
    attempt: Attempt,
    since: int,
    look_again: Callable[[extensions.cursor], None],
    checking: Callable[[], AbstractContextManager[None]],
) -> Switched:
    names, settings = attempt.names, attempt.settings
    locked = sql.SQL(", ").join([names.source, *(names.table(table.table) for table in names.references)])
    first = names.query("cutover.lock_source_and_references", locked=locked)
    with locking(attempt, Bound(seconds=settings.max_write_pause), first=first) as cursor:
        pause = Pause(settings.max_write_pause)
        with ended_by_the_server(pause):
            attempt.hold_fence(cursor)
            look_again(cursor)
            written = _settle(cursor, attempt, since)
            pause.still_within()
            with checking():  # it looks at what is committed, which the change is not yet
                written += carry_out(cursor, attempt)
                _require_target_kept(cursor, attempt)
            pause.still_within()
            cursor.execute(names.query("cutover.freeze", frozen_for=sql.Literal(names.frozen_names)))
            journal.reach(cursor, names.key, attempt.run_id, Milestone.SWITCHED)
            pause.still_within()
    milliseconds = pause.milliseconds
    with attempt.database.writing() as cursor:
        journal.note_pause(cursor, names.key, attempt.run_id, milliseconds)
    return Switched(pause_ms=milliseconds, rows_written=written)


def _settle(cursor: extensions.cursor, attempt: Attempt, since: int) -> int:
    """What has moved in the old world, and then what has moved in the target, which is locked from here on. Mostly that
    is what we wrote ourselves, and the map shows it; else the lock leaves once more, because other sessions settle it.
    Returns the target rows written."""
    written = catch_up(attempt, since=since)
    _lock_target(cursor, attempt)
    touch_target(attempt, since)
    if target_has_moved(attempt):
        unlock(cursor)
        written += settle_touched(attempt)
        _lock_target(cursor, attempt)
        touch_target(attempt, since)
    require_unchanged(cursor, attempt)  # from here nobody can change the target either
    plan_changes(attempt, since=since)
    return written


def _require_target_kept(cursor: extensions.cursor, attempt: Attempt) -> None:
    """What the new table loses later is its owners' affair: it must lose nothing by the switch itself."""
    names = attempt.names
    cursor.execute(names.query("cutover.has_written"), {"oid": attempt.located.facts.target.oid})
    if not cursor.fetchone()[0]:
        return
    cursor.execute(names.query("catchup.target_has_moved", m_in_question=names.everything))
    if cursor.fetchone()[0]:
        raise GateClosed(
            f"The change of the references has changed rows of {names.move.target.table}, or deleted them.",
            untouched="The switch was rolled back; rows and references are as they were.",
            next_step="Look at triggers on the referencing tables that write to the new table, then run again.",
        )


def _lock_target(cursor: extensions.cursor, attempt: Attempt) -> None:
    lock_at_once(cursor, attempt.names.query("cutover.lock_target"), seconds=attempt.lock_timeout)


def retire(attempt: Attempt) -> str:
    """Move the old table, whole, into a schema of its own. Undo: SET SCHEMA back. Returns the schema."""
    schema = f"pipelines_retired_{attempt.run_id}"

    def once() -> None:
        with locking(attempt, READERS, first=attempt.names.query("cutover.lock_for_retire")) as cursor:
            attempt.hold_fence(cursor)
            require_frozen(cursor, attempt.located)
            cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            cursor.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(attempt.names.source, sql.Identifier(schema)))
            journal.reach(cursor, attempt.names.key, attempt.run_id, Milestone.RETIRED, retired_schema=schema)

    persist(attempt, once)
    return schema


def rewire_late(attempt: Attempt) -> int:
    """References that were written with old ids after the switch follow too. Returns how many."""

    def once() -> int:
        with locking(attempt, ROWS) as cursor:
            attempt.hold_fence(cursor)
            return rewire(cursor, attempt)

    return persist(attempt, once)
