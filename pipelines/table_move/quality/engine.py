"""Great Expectations over one database: sources whose every question is read-only and sees one given snapshot.

The only module that imports Great Expectations, and only inside functions: the import takes seconds, so that `run`
starts it in the background (`warm_up`) while rows are copied.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from psycopg2 import Error, extensions, sql

from pipelines.table_move.database.connect import Database, Session
from pipelines.table_move.database.server import no_room
from pipelines.table_move.errors import GateClosed
from pipelines.table_move.quality.suites import Check

# Only the query asset itself begins like this; every real question has it in a subquery.
WHOLE = "SELECT * FROM /* whole subject */ ("

# A query for failing rows ends in LIMIT, which makes the planner believe that the first row comes soon; where all is
# well there is none, and a nested loop over whole tables takes minutes. Several suites are asked at once, which keeps
# the processors busier than the server's own workers, who hand every row to one of them.
_PREPARED = (
    "SET enable_nestloop = off; SET max_parallel_workers_per_gather = 0;"
    # Not with the connection: libpq would take the server for one that is read-only, and look for another.
    " SET default_transaction_read_only = on"
)


def warm_up() -> threading.Thread:
    """Import Great Expectations in the background."""
    thread = threading.Thread(target=_great_expectations, name="import great_expectations", daemon=True)
    thread.start()
    return thread


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Sources for as many threads. stopping: nothing more is asked."""

    sources: Sequence[Source]
    stopping: threading.Event


class Source:
    """One session, ready, for one thread at a time.

    patience: seconds that one question may take.
    snapshot: the exported snapshot that its next transactions see; None: what is committed by then.
    lost: the server or the network has taken the session away, and what was answered since is worth nothing.
    reported: the errors of the server in its questions.
    """

    def __init__(self, gx: Any, context: Any, database: Database, number: int, patience: float) -> None:
        self._gx = gx
        self._source = context.data_sources.add_sql(
            f"gate {number}",
            connection_string="postgresql+psycopg2://",
            kwargs={
                "isolation_level": "REPEATABLE READ",
                "connect_args": database.arguments,  # for its own first look; see `connect`
                "hide_parameters": True,
                # One session and no other: a temporary table is that of a session.
                "pool_size": 1,
                "max_overflow": 0,
            },
        )
        self._subject = self._source.add_query_asset("subject", query="SELECT 1 AS nothing")
        self._subject.add_batch_definition_whole_table("all")
        self._alchemy = self._source.get_execution_engine().engine
        self.patience = patience
        self.snapshot: str | None = None
        self.lost = False
        self.reported: list[Error] = []

    def connect(self, database: Database, stopping: threading.Event) -> None:
        from sqlalchemy import event

        self._alchemy.dispose()  # what was opened before the listeners is neither pinned nor on the snapshot
        event.listen(self._alchemy, "do_connect", lambda *_: _session(database, self.patience))
        self._alchemy.connect().close()  # the pool has one that is ready
        event.listen(self._alchemy, "connect", self._lose)
        event.listen(self._alchemy, "handle_error", self._note_error)
        event.listen(self._alchemy, "begin", self._use_snapshot)
        event.listen(self._alchemy, "before_cursor_execute", partial(_columns_only, stopping), retval=True)

    def close(self) -> None:
        self._alchemy.dispose()

    def batch_of(self, whole: str) -> Any:
        """The batch whose rows are those of a query."""
        # The asset is made once: Great Expectations writes a new one down as YAML, which takes its time.
        self._subject.query = whole
        return self._subject.get_batch_definition("all").get_batch()

    def validate(self, batch: Any, checks: Sequence[Check], result_format: dict[str, Any]) -> dict[str, Any]:
        """The answers by the name of the check. One that is missing was not answered."""
        suite = self._suite(checks)
        result = batch.validate(suite, result_format=result_format)
        return {answer.expectation_config.meta["name"]: answer.to_json_dict() for answer in result.results}

    def _suite(self, checks: Sequence[Check]) -> Any:
        """Raises GateClosed, with the check, where its arguments are none that the library takes."""
        build = partial(self._gx.ExpectationSuite, name="gate")
        try:
            return build(expectations=[check.definition for check in checks])
        except Exception as problem:  # whatever kind it has for it
            if len(checks) == 1:
                raise GateClosed(
                    f"Great Expectations does not take the arguments of the check {checks[0].name} "
                    f"({type(problem).__name__}).",
                    untouched="What was committed stays; nothing was changed because of this check.",
                    next_step="Put it right in its suite (folder expectations/), then run the same command again.",
                ) from None
            for check in checks:
                self._suite([check])
            raise

    def text_of(self, query: sql.Composable) -> str:
        """A query as text."""
        with self.cursor() as cursor:
            return query.as_string(cursor)

    def cursor(self) -> contextlib.AbstractContextManager[extensions.cursor]:
        """A cursor in a read-only transaction of the session, on the snapshot."""
        return self._transaction(None if self.snapshot is None else _use(self.snapshot))

    def writing(self) -> contextlib.AbstractContextManager[extensions.cursor]:
        """A cursor in the session's only kind of transaction that may write, and sees no snapshot."""
        return self._transaction("SET TRANSACTION READ WRITE")

    @contextlib.contextmanager
    def _transaction(self, setting: str | None) -> Iterator[extensions.cursor]:
        from sqlalchemy.exc import DBAPIError

        try:
            connection = self._alchemy.raw_connection()
        except DBAPIError as problem:
            raise problem.orig from problem
        try:
            with connection.cursor() as cursor:
                if setting is not None:
                    cursor.execute(setting)
                yield cursor
            connection.commit()
        except Error:
            if connection.dbapi_connection.closed:
                self.lost = True
                connection.invalidate()
            raise
        finally:
            connection.close()  # back to the pool, which rolls back what is open

    def _lose(self, *_: Any) -> None:
        """Another session than the first, without its snapshot and its temporary table."""
        self.lost = True

    def _note_error(self, context: Any) -> None:
        self.lost |= context.is_disconnect
        if isinstance(context.original_exception, Error):
            self.reported.append(context.original_exception)

    def _use_snapshot(self, connection: Any) -> None:
        if self.snapshot is not None:
            connection.exec_driver_sql(_use(self.snapshot))


@contextlib.contextmanager
def engine(database: Database, *, sources: int, patience: float) -> Iterator[Engine]:
    """Great Expectations, imported and connected. patience: seconds that one question may take."""
    gx = _great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    stopping = threading.Event()
    with contextlib.ExitStack() as stack:
        try:
            found = [Source(gx, context, database, number, patience) for number in range(sources)]
            for source in found:
                stack.callback(source.close)
                source.connect(database, stopping)
        except Exception:
            if database.server.is_pooled:
                raise no_room() from None
            raise
        yield Engine(sources=found, stopping=stopping)


def _great_expectations() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations

    return great_expectations


def _session(database: Database, patience: float) -> Session:
    """Through the same door as all others, to the same server."""
    session = database.connect()
    with session.cursor() as cursor:
        cursor.execute(_PREPARED)
        cursor.execute("SELECT set_config('statement_timeout', %s, false)", (f"{patience * 1000:.0f}ms",))
    session.commit()  # or the pool's rollback would take the settings back
    return session


def _use(snapshot: str) -> str:
    return f"SET TRANSACTION SNAPSHOT '{snapshot}'"


def _columns_only(stopping: threading.Event, connection, cursor, statement, parameters, context, many):
    """To learn a query's columns, Great Expectations fetches all its rows; marked queries answer with none."""
    if stopping.is_set():
        raise RuntimeError("Nobody waits for the answer any more.")
    if statement.startswith(WHOLE):
        statement += " LIMIT 0"
    return statement, parameters
