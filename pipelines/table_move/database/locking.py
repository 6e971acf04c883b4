"""Locks without harm: give up before the server looks for a deadlock, try again with jitter, never without an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg2 import InterfaceError, OperationalError, errors, extensions, sql

from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.commit import commit
from pipelines.table_move.database.hold import ASLEEP
from pipelines.table_move.database.in_the_way import LET_THEM, in_the_way
from pipelines.table_move.database.patience import REFUSED, Result, again
from pipelines.table_move.database.server_error import reported
from pipelines.table_move.errors import MoveError, NotInTime
from pipelines.table_move.pure.facts import Server


@dataclass(frozen=True, kw_only=True)
class Bound:
    """How long a transaction of ours may keep others waiting, seconds; the server ends it where its process sleeps.

    works_long: its statements may take longer, because nobody waits for them before the last ones.
    """

    seconds: float
    works_long: bool = False


READERS = Bound(seconds=3)  # a table of the application's is locked altogether, for a change of the catalog
WRITERS = Bound(seconds=5)  # writers wait for a foreign key that comes back; nobody for its validation
VALIDATION = Bound(seconds=5, works_long=True)
ROWS = Bound(seconds=ASLEEP, works_long=True)  # single rows are locked
ARCHIVING = Bound(seconds=3600, works_long=True)  # readers of the retired table go on; who changes it waits
REBUILDING = Bound(seconds=60, works_long=True)  # the table is seen by nobody; writers of those it refers to wait


class TooLong(Exception):
    """The server has ended a transaction of ours that others would have had to wait for."""

    def __init__(self, bound: Bound) -> None:
        super().__init__(f"{bound.seconds:g} s")
        self.bound = bound


_UNDONE = "What was committed stays; the open transaction was rolled back."


def persist(attempt: Attempt, once: Callable[[], Result]) -> Result:
    """Try until it works or `lock_wait` is over, with jitter between. Raises NotInTime with who was in the way."""
    with told_who_was_in_the_way(attempt):
        return again(
            once,
            seconds=attempt.settings.lock_wait,
            refused=lambda tries: attempt.watch.say("lock_refused", attempt=tries),
        )


@contextmanager
def told_who_was_in_the_way(attempt: Attempt) -> Iterator[None]:
    """What others held for as long as `lock_wait` says is NotInTime, with their names."""
    try:
        yield
    except REFUSED as problem:
        raise NotInTime(
            f"The locks were not to be had within {attempt.settings.lock_wait:g} s{_in_the_way(attempt)}.",
            untouched=_UNDONE,
            next_step=LET_THEM.format("--lock-wait"),
        ) from problem
    except TooLong as problem:
        raise NotInTime(
            f"The server ended a transaction that others may have to wait for, after {problem.bound.seconds:g} s: "
            "this process was held up.",
            untouched=_UNDONE,
            next_step="Run the same command again: it goes on where it stopped.",
        ) from problem


def _in_the_way(attempt: Attempt) -> str:
    facts = attempt.located.facts
    tables = (facts.source, facts.target, *facts.references.values())
    return in_the_way(attempt.database, [table.oid for table in tables if table is not None])


@contextmanager
def locking(attempt: Attempt, bound: Bound, *, first: sql.Composable | None = None) -> Iterator[extensions.cursor]:
    """A transaction that others may have to wait for: it gives up on a lock before the server would look for a
    deadlock, and the server ends it where it keeps them waiting for longer than its bound, whatever this process does.

    first: takes the locks on tables; the only statement that waits for any, because from then on others wait for us.
    Raises TooLong where the server has ended it.
    """
    started = time.monotonic()
    try:
        with attempt.database.session() as session:
            session.set_session(autocommit=True)
            with session.cursor() as cursor:
                _set_bound(cursor, bound, patience=attempt.lock_timeout, server=attempt.located.facts.server)
            session.set_session(autocommit=False)
            with session.cursor() as cursor:
                if first is not None:
                    cursor.execute(first)
                    cursor.execute(AT_ONCE)
                yield cursor
            commit(attempt.database, session)
    except (OperationalError, InterfaceError) as problem:
        # A session that the server has ended tells a client that was asleep nothing but that it is gone.
        ended = isinstance(problem, errors.QueryCanceled) or problem.pgcode is None
        if ended and time.monotonic() - started >= bound.seconds:
            raise TooLong(bound) from problem
        raise


# As good as NOWAIT, which most statements do not know.
AT_ONCE = "SET LOCAL lock_timeout = '10ms'"


_ASLEEP = "idle_in_transaction_session_timeout"


def _set_bound(cursor: extensions.cursor, bound: Bound, *, patience: float, server: Server) -> None:
    # The wait for the first lock is part of the transaction, so it is added on top.
    names = [_ASLEEP]
    if not bound.works_long:
        names += ["statement_timeout", *(["transaction_timeout"] if server.version >= 170000 else [])]
    for name in names:
        cursor.execute("SELECT set_config(%s, %s, false)", (name, f"{(bound.seconds + patience) * 1000:.0f}ms"))


def keep_waiting_no_longer(cursor: extensions.cursor, bound: Bound) -> None:
    """From here on others wait: a stricter bound on sleep for the rest of the transaction."""
    cursor.execute(
        "SELECT set_config('idle_in_transaction_session_timeout', %s, true)", (f"{bound.seconds * 1000:.0f}",)
    )


def lock_at_once(cursor: extensions.cursor, statement: sql.Composable, *, seconds: float) -> None:
    """A lock for a transaction that others wait for already, so that it never waits itself: tried again and again.
    Raises LockNotAvailable after `seconds`. Undo: `unlock`."""
    ends = time.monotonic() + seconds
    while True:
        cursor.execute("SAVEPOINT at_once")
        try:
            cursor.execute(statement)
            return
        except errors.LockNotAvailable:
            unlock(cursor)
            if time.monotonic() > ends:
                raise
            time.sleep(0.01)


def unlock(cursor: extensions.cursor) -> None:
    """What `lock_at_once` has locked, and all since then."""
    cursor.execute("ROLLBACK TO SAVEPOINT at_once")


class Pause:
    """The bound on the writers' pause, on this side; the server has its own (see `locking`)."""

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
                untouched=_UNDONE,
                next_step="Run again at a quieter time, or with a larger --max-write-pause; `plan` predicts the pause.",
            )


@contextmanager
def ended_by_the_server(pause: Pause) -> Iterator[None]:
    """The server's own deadline shows as a lost connection or a cancelled statement, in whatever another library has
    made of it: tell it as what it is."""
    try:
        yield
    except MoveError:
        raise
    except Exception as problem:
        if isinstance(reported(problem), OperationalError | InterfaceError):
            pause.still_within()
        raise
