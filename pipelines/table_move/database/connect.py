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
from pipelines.table_move.database.not_connected import not_connected
from pipelines.table_move.database.pins import PATH, pin, start_up_options
from pipelines.table_move.database.server import (
    Backend,
    Server,
    ask_backend,
    discard,
    no_room,
    require_sessions,
    set_name,
)
from pipelines.table_move.database.silence import silence_libpq
from pipelines.table_move.errors import Blocked, ConnectionLost
from pipelines.table_move.pure.server_blockers import version_blocker


class Session(extensions.connection):
    """A connection of `Database.connect`: its settings are pinned, and it is READ COMMITTED, said explicitly.

    backend: the server's process that works for it; behind a pooler it is not the one that libpq was told.
    """

    backend: Backend
    _is_ready = False

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        _require_supported(self.server_version)
        self.set_session(autocommit=True)
        self.backend = ask_backend(self)

    @property
    def is_pooled(self) -> bool:
        return self.backend.pid != self.get_backend_pid()

    def make_ready(self) -> None:
        """From here on statements stand in transactions."""
        if self.is_pooled:
            discard(self)
            set_name(self)
        pin(self)
        self.set_session(isolation_level=extensions.ISOLATION_LEVEL_READ_COMMITTED, readonly=False, autocommit=False)
        self._is_ready = True

    def close(self) -> None:
        if self._is_ready and not self.closed and self.is_pooled:
            with suppress(psycopg2.Error):
                self.rollback()
                self.autocommit = True
                discard(self)
        super().close()


def _require_supported(version: int) -> None:
    """Raises Blocked before anything is said to a server that may not understand it."""
    if blocker := version_blocker(version):
        raise Blocked(blocker.message, blockers=(blocker,), untouched="Nothing was written.")


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
    sessions: WeakSet[Session] = field(default_factory=WeakSet, repr=False, compare=False)
    given_up: Event = field(default_factory=Event, repr=False, compare=False)
    server: Server = field(default_factory=Server, repr=False, compare=False)

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
        session = self._open()
        if self.server.is_new:
            if session.is_pooled:
                with closing(self._open()) as other:
                    require_sessions(session, other)
            self.server.meet(session, session.backend, is_pooled=session.is_pooled)
        self.server.require(session.backend)
        session.make_ready()
        self.sessions.add(session)
        session.autocommit = True  # a standby refuses to open a transaction that may write
        give_up_early(session, self.lock_timeout)
        session.autocommit = False
        return session

    @property
    def arguments(self) -> dict[str, str]:
        """What a session is opened with: of several hosts the one that answered first, once one has."""
        options = {"options": start_up_options(self.parameters.get("options"))} if self.server.takes_options else {}
        own = {"client_encoding": "UTF8", "application_name": self.application_name, **options}
        return {**self.parameters, **self.server.place, **own}

    def _open(self) -> Session:
        silence_libpq()
        try:
            try:
                return psycopg2.connect(connection_factory=Session, cursor_factory=Cursor, **self.arguments)
            except psycopg2.OperationalError as problem:
                if not self.server.refuses_options(problem):
                    raise
                return psycopg2.connect(connection_factory=Session, cursor_factory=Cursor, **self.arguments)
        except psycopg2.DatabaseError as problem:
            if self.server.is_pooled:
                raise no_room() from None
            if not isinstance(problem, psycopg2.OperationalError):
                raise
            has_met = not self.server.is_new
            raise not_connected(problem, self.arguments, label=self.label, has_met=has_met) from None

    def cancel(self, sessions: Iterable[extensions.connection] | None = None) -> None:
        """Cancel the statements that run in these sessions, or in any. For another thread than theirs.

        A server that takes no connection for that is told nothing: the sessions are cut on this side.
        """
        found = [one for one in self.sessions if sessions is None or one in sessions]
        pids = [one.backend.pid for one in found if not one.closed]
        try:
            # No session.cancel(): psycopg2 holds all of Python up while it waits for a server that may have vanished.
            with (
                closing(psycopg2.connect(**{**self.arguments, "connect_timeout": "3"})) as other,
                other.cursor() as cursor,
            ):
                cursor.execute("SET ROLE NONE")  # sessions are those of the role that logged in, whatever it became
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
    " WHERE pid OPERATOR(pg_catalog.=) ANY (%(pids)s) AND application_name OPERATOR(pg_catalog.=) %(ourselves)s"
    " AND usename OPERATOR(pg_catalog.=) current_user"
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
