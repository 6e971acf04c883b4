"""yoyo-migrations on our own sessions: it splits the files, pairs forward and back, and keeps who, where and when.

Its lock row, which outlives a crash, is never written: an advisory lock is held around everything (see `runner`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from psycopg2 import extensions, sql
from yoyo.backends.core.postgresql import PostgresqlBackend

from pipelines.migrations.history import SCHEMA
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.lock import lock_key

AT_WORK = "migrations/at work"  # shared by the sessions that run files


class Backend(PostgresqlBackend):
    """settings: server settings of the sessions that run the files. notices: what the files said, as it comes."""

    migration_table = "_yoyo_migration"

    def __init__(self, database: Database, settings: Mapping[str, str], *, path: str, notices: list[str]) -> None:
        self.database, self.settings, self.notices = database, settings, notices
        self.DatabaseError = self.driver.DatabaseError
        self.has_transactional_ddl = True
        self._connection = self._open(path)

    def copy(self) -> Backend:
        """The session that runs a file: in it the application's tables need no schema."""
        return Backend(self.database, self.settings, path=self.database.schema, notices=self.notices)

    def __exit__(self, *problem: object) -> None:
        self.notices += self.connection.notices
        super().__exit__(*problem)

    @contextmanager
    def lock(self, timeout: float = 10) -> Iterator[None]:
        yield

    def init_connection(self, connection: extensions.connection) -> None:
        """Nothing after a rollback either: the session's settings are its own."""

    def rollback(self) -> None:
        """Without a transaction there is nothing to roll back, and the server would warn."""
        if self.connection.info.transaction_status == self.TRANSACTION_STATUS_IDLE:
            self._in_transaction = False
        else:
            super().rollback()

    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> extensions.cursor:
        if params:
            return super().execute(sql, params)
        cursor = self.cursor()  # without values there are no placeholders, and % is a character like any other
        cursor.execute(sql)
        return cursor

    def list_tables(self, **_: object) -> list[str]:
        cursor = super().execute(self.list_tables_sql, {"schema": SCHEMA})
        return [name for (name,) in cursor]

    def _open(self, path: str) -> extensions.connection:
        connection = self.database.connect()
        connection.set_session(autocommit=True)
        wanted = {
            "default_transaction_isolation": "read committed",
            "client_min_messages": "notice",
            "work_mem": "128MB",
            "idle_in_transaction_session_timeout": "5s",  # nobody waits for a client that sleeps in front of its COMMIT
            **self.settings,
        }
        with connection.cursor() as cursor:
            for name, value in wanted.items():
                cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
            # Held as long as the server works on a file, also where its client was killed.
            cursor.execute("SELECT pg_advisory_lock_shared(%(class)s, %(object)s)", lock_key(AT_WORK))
            cursor.execute(sql.SQL("SET search_path = {}, pg_catalog").format(sql.Identifier(path)))
        return connection
