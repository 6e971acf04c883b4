"""The one door to the database: sessions that are pinned before anything else runs in them."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event
from weakref import WeakSet

import psycopg2
from psycopg2 import extensions, sql

from pipelines.table_move.database.cursor import Cursor
from pipelines.table_move.database.refusals import refused
from pipelines.table_move.errors import Blocked, ConnectionLost
from pipelines.table_move.pure.server_blockers import version_blocker

# Nothing of the application's can stand before pg_catalog, row security raises instead of hiding rows, and text
# comes and goes as UTF-8, whatever the role, the database or the environment say. Values of every type travel as text,
# in the one form that reads back as the same value.
PATH = "pg_catalog, pg_temp"
_PINS = (
    f"SET search_path = {PATH}",
    "SET row_security = off",
    "SET client_encoding = 'UTF8'",
    "SET statement_timeout = 0",
    "SET idle_in_transaction_session_timeout = '15s'",  # who sleeps while it reads keeps out whoever changes a table
    "SET idle_session_timeout = 0",  # one of our sessions holds the lock of the move and says nothing
    "SET lock_timeout = 0",
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = 25000",
    "SET client_min_messages = warning",
    "SET standard_conforming_strings = on",
    "SET DateStyle = 'ISO, YMD'",
    "SET TimeZone = 'UTC'",
    "SET bytea_output = 'hex'",
    "SET quote_all_identifiers = off",  # the catalog's names of types are compared
    "SET array_nulls = on",
    "SET extra_float_digits = 1",
    "SET IntervalStyle = 'postgres'",
    "SET work_mem = '64MB'",  # whole tables are joined by hash; the default would do it in many passes over the disk
    "SET jit = off",  # it costs more than it saves where statements are many and their sizes known badly
)


class Session(extensions.connection):
    """A psycopg2 connection whose first statements pin its settings; READ COMMITTED, said explicitly."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        _require_supported(self.server_version)
        self.set_session(autocommit=True)
        pin(self)
        self.set_session(isolation_level=extensions.ISOLATION_LEVEL_READ_COMMITTED, readonly=False, autocommit=False)


def _require_supported(version: int) -> None:
    """Raises Blocked before anything is said to a server that may not understand it."""
    if blocker := version_blocker(version):
        raise Blocked(blocker.message, blockers=(blocker,), untouched="Nothing was written.")


def pin(connection: extensions.connection) -> None:
    """The first statements of every session, ours and those of the checks."""
    with connection.cursor() as cursor:
        cursor.execute("; ".join(_PINS))
        # Where the server has them: a backend whose client is gone notices within seconds instead of finishing its
        # statement; and no installation's limit on transactions ends a long copy.
        cursor.execute(
            "SELECT set_config(name, value, false) FROM pg_settings JOIN (VALUES"
            " ('client_connection_check_interval', '2s'), ('transaction_timeout', '0')) AS wanted (name, value)"
            " USING (name)"
        )


@dataclass(frozen=True, kw_only=True)
class Database:
    """Which database, and the schema of the application in it. `parameters` hold the password and are never shown.

    lock_timeout: seconds that a session waits for any one lock; less where the server looks for deadlocks early.
    lock_wait: seconds after which nobody tries any more.
    """

    parameters: dict[str, str] = field(repr=False)
    schema: str = "public"
    is_demo: bool = False
    application_name: str = "table_move"
    lock_timeout: float = 0.5
    lock_wait: float = 60
    sessions: WeakSet[extensions.connection] = field(default_factory=WeakSet, repr=False, compare=False)
    given_up: Event = field(default_factory=Event, repr=False, compare=False)

    @property
    def label(self) -> str:
        """Host and database, for people; no secret in it."""
        if self.is_demo:
            return "demo"
        host = self.parameters.get("host") or self.parameters.get("hostaddr") or "local socket"
        return f"{host}/{self.parameters.get('dbname', self.parameters.get('user', ''))}"

    def connect(self) -> Session:
        """A new session. Raises ConnectionLost or Blocked with nothing of what the server or libpq said."""
        if self.given_up.is_set():
            raise ConnectionLost("The connections were cut on this side.")
        arguments = {**self.parameters, "application_name": self.application_name}
        try:
            session = psycopg2.connect(connection_factory=Session, cursor_factory=Cursor, **arguments)
        except psycopg2.OperationalError as problem:
            raise refused(problem, label=self.label) from None
        self.sessions.add(session)
        session.autocommit = True  # a standby refuses to open a transaction that may write
        give_up_early(session, self.lock_timeout)
        session.autocommit = False
        return session

    def cancel(self, sessions: Iterable[extensions.connection] | None = None) -> None:
        """Cancel the statements that run in these sessions, or in any. For another thread than theirs.

        A server that takes no connection for that is told nothing: the sessions are cut on this side.
        """
        found = [one for one in self.sessions if sessions is None or one in sessions]
        pids = [one.get_backend_pid() for one in found if not one.closed]
        arguments = {**self.parameters, "application_name": self.application_name, "connect_timeout": "3"}
        try:
            # No session.cancel(): psycopg2 holds all of Python up while it waits for a server that may have vanished.
            with closing(psycopg2.connect(**arguments)) as other, other.cursor() as cursor:
                cursor.execute(_CANCEL, {"pids": pids, "ourselves": self.application_name})
        except psycopg2.Error:
            _cut(found)

    def cut(self) -> None:
        """End every connection on this side and make none any more, for a server that answers no cancellation."""
        self.given_up.set()
        _cut(list(self.sessions))

    @contextmanager
    def session(self, *, patience: float = 0) -> Iterator[Session]:
        """A session that is closed at the end; an open transaction is rolled back.

        patience: seconds to wait for the locks of another run of ours; 0 is no longer than for any lock.
        """
        session = self.connect()
        try:
            if patience:  # a transaction that may write, which a standby refuses even to open
                _wait_for_another_run(session, patience)
            yield session
        finally:
            session.close()

    @contextmanager
    def reading(self) -> Iterator[extensions.cursor]:
        """A cursor in one read-only REPEATABLE READ transaction."""
        with self.session() as session:
            session.set_session(isolation_level="REPEATABLE READ", readonly=True)
            with session.cursor() as cursor:
                yield cursor

    @contextmanager
    def writing(self, *, patience: float = 0) -> Iterator[extensions.cursor]:
        """A cursor in one transaction of its own session: committed at the end, rolled back on an error."""
        with self.session(patience=patience) as session, session, session.cursor() as cursor:
            yield cursor


def _cut(sessions: Iterable[extensions.connection]) -> None:
    for session in sessions:
        with suppress(OSError, psycopg2.Error), socket.fromfd(session.fileno(), 0, 0) as end:
            end.shutdown(socket.SHUT_RDWR)


_CANCEL = (
    "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity"
    " WHERE pid = ANY (%(pids)s) AND application_name = %(ourselves)s AND usename = current_user"
)


def give_up_early(session: extensions.connection, seconds: float) -> None:
    """How long this session waits for any one lock: no longer than half of the time after which the server would look
    for a deadlock, so that nobody else ends for our sake."""
    with session.cursor() as cursor:
        cursor.execute(_LOCK_TIMEOUT, (round(seconds * 1000),))


_LOCK_TIMEOUT = (
    "SELECT set_config('lock_timeout', greatest(least(%s, setting::bigint / 2), 1)::text, false)"
    " FROM pg_settings WHERE name = 'deadlock_timeout'"
)


def _wait_for_another_run(session: Session, seconds: float) -> None:
    """It holds nothing that the application wants, so that no circle can go through both."""
    with session, session.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", (f"{seconds * 1000:.0f}ms",))


@contextmanager
def as_application(cursor: extensions.cursor, schema: str) -> Iterator[None]:
    """For a statement of `sql/table_move/application.sql`, let the application's triggers find what they name without a
    schema. An operator or a function that somebody has made there would win over that of pg_catalog where it fits the
    types better, and run with our rights: what is decided is decided outside, under the session's own path.

    Deferred constraints speak up at their statement, not at the commit, where it would be too late to tell which row.
    """
    with cursor.connection.cursor() as beside:  # what the statement returned is still to be read
        path = sql.SQL("SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL search_path = pg_catalog, {}, pg_temp")
        beside.execute(path.format(sql.Identifier(schema)))
        yield
        beside.execute(f"SET search_path = {PATH}")  # not LOCAL: a trigger may have set it for the session
