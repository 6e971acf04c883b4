"""Locks without harm: give up before the server looks for a deadlock, try again with jitter, never without an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import tenacity
from psycopg2 import InterfaceError, OperationalError, errors, extensions

from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.commit import commit
from pipelines.table_move.errors import NotInTime

# A lock was not to be had: the transaction is gone and nothing was changed. Try again. An overrun pause is not tried
# again: it would make writers wait once more for the same end.
REFUSED = (errors.LockNotAvailable, errors.DeadlockDetected)
_UNDONE = "The transaction was rolled back."

Result = TypeVar("Result")


def persist(attempt: Attempt, once: Callable[[], Result]) -> Result:
    """Try until it works or `lock_wait` is over, with jitter between. Raises NotInTime with who was in the way."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(REFUSED),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=3),
        stop=tenacity.stop_after_delay(attempt.settings.lock_wait),
        before_sleep=lambda state: attempt.watch.say("lock_refused", attempt=state.attempt_number),
        reraise=True,
    )
    try:
        return retrying(once)
    except REFUSED as problem:
        raise NotInTime(
            f"The locks were not to be had within {attempt.settings.lock_wait:g} s{_in_the_way(attempt)}.",
            untouched=_UNDONE,
            next_step="Let these sessions end, or give more time with --lock-wait, then run again.",
        ) from problem


def _in_the_way(attempt: Attempt) -> str:
    facts = attempt.located.facts
    oids = [table.oid for table in (facts.source, facts.target, *facts.references.values()) if table is not None]
    with attempt.database.reading() as cursor:
        cursor.execute(
            attempt.names.query("cutover.blockers"), {"oids": oids, "ourselves": attempt.database.application_name}
        )
        found = [f"pid {pid} ({who}) holds {mode} on {table} for {age} s" for pid, who, table, mode, age in cursor]
    return ": " + "; ".join(found) if found else ""


@contextmanager
def locking(attempt: Attempt, *, deadline: float | None = None) -> Iterator[extensions.cursor]:
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
        with session.cursor() as cursor:
            yield cursor
        commit(attempt.database, session)


def _set_deadline(cursor: extensions.cursor, seconds: float, version: int) -> None:
    # The wait for the first lock is part of the transaction, so it is added on top.
    bound = f"{(seconds + 1) * 1000:.0f}ms"
    names = ["statement_timeout", "idle_in_transaction_session_timeout"]
    for name in [*names, "transaction_timeout"] if version >= 170000 else names:
        cursor.execute("SELECT set_config(%s, %s, false)", (name, bound))


class Pause:
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
                untouched=_UNDONE,
                next_step="Run again at a quieter time, or with a larger --max-write-pause; `plan` predicts the pause.",
            )


@contextmanager
def ended_by_the_server(pause: Pause) -> Iterator[None]:
    """The server's own deadline shows as a lost connection or a cancelled statement: tell it as what it is."""
    try:
        yield
    except (OperationalError, InterfaceError):
        pause.still_within()
        raise
