"""The cutover: foreign keys leave, references switch at once, the old table retires. Each with its lock discipline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import tenacity
from psycopg2 import InterfaceError, OperationalError, errors, extensions, sql

from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.catch_up import catch_up
from pipelines.table_move.database.rewire import rewire
from pipelines.table_move.errors import NotInTime
from pipelines.table_move.pure.preflight import ForeignKey
from pipelines.table_move.status import Milestone

# A lock was not to be had: the transaction is gone and nothing was changed. Try again. An overrun pause is not tried
# again: it would make writers wait once more for the same end.
_REFUSED = (errors.LockNotAvailable, errors.DeadlockDetected)
Result = TypeVar("Result")

_OLD_WORLD = "The transaction was rolled back: the old table serves reads and writes as before."


def release(attempt: Attempt) -> int:
    """Take the foreign keys to the old table away and record them. Undo: `restore`. Returns how many."""
    found = attempt.located.facts.foreign_keys

    def once() -> None:
        with _locking(attempt) as cursor:
            cursor.execute(
                sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(
                    sql.SQL(", ").join(
                        [
                            attempt.names.source,
                            *sorted({_table_of(key) for key in found}, key=lambda name: name.strings),
                        ]
                    )
                )
            )
            attempt.hold_fence(cursor)
            for key in found:
                record = {
                    **key.__dict__,
                    "table_name": key.table,
                    "constraint_name": key.name,
                    "run_id": attempt.run_id,
                }
                cursor.execute(attempt.names.query("cutover.record_release"), record)
                cursor.execute(
                    attempt.names.query("cutover.release", table=_table_of(key), constraint=sql.Identifier(key.name))
                )

    if found:
        _persist(attempt, once)
    return len(found)


def restore(attempt: Attempt) -> None:
    """Put the released foreign keys back: added without a scan, then validated if they were, under a weaker lock."""
    with attempt.database.reading() as cursor:
        cursor.execute(attempt.names.query("cutover.released"))
        released = cursor.fetchall()
    for _, table_name, name, definition, comment, validated in released:
        table, constraint = attempt.names.table(table_name), sql.Identifier(name)

        def add(table=table, constraint=constraint, name=name, definition=definition, comment=comment) -> None:
            with _locking(attempt) as cursor:
                cursor.execute(
                    attempt.names.query(
                        "cutover.restore",
                        table=table,
                        constraint=constraint,
                        definition=sql.SQL(definition.removesuffix(" NOT VALID")),
                    )
                )
                if comment is not None:
                    cursor.execute(
                        sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}").format(constraint, table, sql.Literal(comment))
                    )
                cursor.execute(
                    "DELETE FROM pipelines.foreign_key WHERE move = %s AND constraint_name = %s",
                    (attempt.names.key, name),
                )

        _persist(attempt, add)
        if validated:
            with _locking(attempt) as cursor:
                cursor.execute(sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(table, constraint))


@dataclass(frozen=True, kw_only=True)
class Switched:
    """What a switch did: how long writers waited, from the locks to the answered commit, and what it wrote."""

    pause_ms: float
    rows_written: int


def switch(attempt: Attempt, check: Callable[[], None]) -> Switched:
    """The switch, tried until `lock_wait` is over.

    check: runs the suites on the committed rows and raises GateClosed; called while writers are excluded.
    """
    return _persist(attempt, lambda: _switch_once(attempt, check))


def _switch_once(attempt: Attempt, check: Callable[[], None]) -> Switched:
    names, settings = attempt.names, attempt.settings
    with _locking(attempt, deadline=settings.max_write_pause) as cursor:
        locked = [names.source, *(names.table(table.table) for table in names.references)]
        cursor.execute(names.query("cutover.lock_source_and_references", locked=sql.SQL(", ").join(locked)))
        pause = _Pause(settings.max_write_pause)
        with _ended_by_the_server(pause):
            attempt.hold_fence(cursor)
            written = catch_up(attempt, patience=attempt.lock_timeout)
            pause.still_within()
            _lock_target(cursor, attempt)
            check()
            pause.still_within()
            written += rewire(cursor, attempt)
            cursor.execute(names.query("cutover.freeze", frozen_for=sql.Literal(names.frozen_names)))
            journal.reach(cursor, names.key, attempt.run_id, Milestone.SWITCHED)
            pause.still_within()
    milliseconds = pause.milliseconds
    with attempt.database.writing() as cursor:
        journal.note_pause(cursor, names.key, attempt.run_id, milliseconds)
    return Switched(pause_ms=milliseconds, rows_written=written)


@contextmanager
def _ended_by_the_server(pause: _Pause) -> Iterator[None]:
    """The server's own deadline shows as a lost connection or a cancelled statement: tell it as what it is."""
    try:
        yield
    except (OperationalError, InterfaceError):
        pause.still_within()
        raise


def retire(attempt: Attempt) -> str:
    """Move the old table, whole, into a schema of its own. Undo: SET SCHEMA back. Returns the schema."""
    schema = f"pipelines_retired_{attempt.run_id}"

    def once() -> None:
        with _locking(attempt) as cursor:
            cursor.execute(attempt.names.query("cutover.lock_for_retire"))
            attempt.hold_fence(cursor)
            cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            cursor.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(attempt.names.source, sql.Identifier(schema)))
            journal.reach(cursor, attempt.names.key, attempt.run_id, Milestone.RETIRED, retired_schema=schema)

    _persist(attempt, once)
    return schema


def rewire_late(attempt: Attempt) -> int:
    """References that were written with old ids after the switch follow too. Returns how many."""

    def once() -> int:
        with _locking(attempt) as cursor:
            attempt.hold_fence(cursor)
            return rewire(cursor, attempt)

    return _persist(attempt, once)


class _Pause:
    """The bound on the writers' pause, on this side; the server has its own (see `_locking`)."""

    def __init__(self, seconds: float) -> None:
        self._started = time.monotonic()
        self._seconds = seconds

    @property
    def milliseconds(self) -> float:
        return (time.monotonic() - self._started) * 1000

    def still_within(self) -> None:
        if self.milliseconds > self._seconds * 1000:
            raise NotInTime(
                "Writers would have had to wait longer than --max-write-pause allows.",
                untouched=_OLD_WORLD,
                next_step="Run again at a quieter time, or with a larger --max-write-pause; `plan` predicts the pause.",
            )


@contextmanager
def _locking(attempt: Attempt, *, deadline: float | None = None) -> Iterator[extensions.cursor]:
    """A transaction that gives up on a lock before the server would look for a deadlock.

    deadline: seconds after which the server itself ends the transaction, whatever this process does.
    """
    with attempt.database.session() as session:
        session.set_session(autocommit=True)
        with session.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", (f"{attempt.lock_timeout * 1000:.0f}ms",))
            if deadline is not None:
                _set_deadline(cursor, deadline, attempt.located.facts.server.version)
        session.set_session(autocommit=False)
        with session, session.cursor() as cursor:
            yield cursor


def _set_deadline(cursor: extensions.cursor, seconds: float, version: int) -> None:
    # The wait for the first lock is part of the transaction, so it is added on top.
    bound = f"{(seconds + 1) * 1000:.0f}ms"
    names = ["statement_timeout", "idle_in_transaction_session_timeout"]
    for name in [*names, "transaction_timeout"] if version >= 170000 else names:
        cursor.execute("SELECT set_config(%s, %s, false)", (name, bound))


def _lock_target(cursor: extensions.cursor, attempt: Attempt) -> None:
    """NOWAIT, again and again for as long as a lock may take: this transaction makes others wait, so it never queues."""
    ends = time.monotonic() + attempt.lock_timeout
    while True:
        cursor.execute("SAVEPOINT target")
        try:
            cursor.execute(attempt.names.query("cutover.lock_target"))
            return
        except errors.LockNotAvailable:
            cursor.execute("ROLLBACK TO SAVEPOINT target")
            if time.monotonic() > ends:
                raise
            time.sleep(0.01)


def _persist(attempt: Attempt, once: Callable[[], Result]) -> Result:
    """Try until it works or `lock_wait` is over, with jitter between. Raises NotInTime with who was in the way."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_REFUSED),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=3),
        stop=tenacity.stop_after_delay(attempt.settings.lock_wait),
        before_sleep=lambda state: attempt.watch.say("lock_refused", attempt=state.attempt_number),
        reraise=True,
    )
    try:
        return retrying(once)
    except _REFUSED as problem:
        raise NotInTime(
            f"The locks were not to be had within {attempt.settings.lock_wait:g} s: {problem.diag.message_primary or problem}"
            + _in_the_way(attempt),
            untouched=_OLD_WORLD,
            next_step="Let these sessions end, or give more time with --lock-wait or --max-write-pause, then run again.",
        ) from problem


def _in_the_way(attempt: Attempt) -> str:
    facts = attempt.located.facts
    oids = [facts.source.oid, facts.target.oid, *(table.oid for table in facts.references.values() if table)]
    with attempt.database.reading() as cursor:
        cursor.execute(
            attempt.names.query("cutover.blockers"), {"oids": oids, "ourselves": attempt.database.application_name}
        )
        found = [f"pid {pid} ({who}) holds {mode} on {table} for {age} s" for pid, who, table, mode, age in cursor]
    return ". In the way: " + "; ".join(found) if found else ""


def _table_of(key: ForeignKey) -> sql.Identifier:
    return sql.Identifier(key.schema, key.table)
