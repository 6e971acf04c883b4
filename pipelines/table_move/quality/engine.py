"""Great Expectations over one database: sources whose every transaction is read-only and sees one given snapshot.

The only module that imports Great Expectations, and only inside functions: the import takes seconds, so that `run`
starts it in the background (`warm_up`) while rows are copied.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from psycopg2 import extensions

from pipelines.table_move.database.connect import Database, pin
from pipelines.table_move.quality.suites import Check

# Only the query asset itself begins like this; every real question has it in a subquery.
WHOLE = "SELECT * FROM /* whole subject */ ("

# A query for failing rows ends in LIMIT, which makes the planner believe that the first row comes soon; where all is
# well there is none, and a nested loop over whole tables takes minutes. Several suites are asked at once, which keeps
# the processors busier than the server's own workers, who hand every row to one of them.
_PLANNED = "SET enable_nestloop = off; SET max_parallel_workers_per_gather = 0"


def warm_up() -> threading.Thread:
    """Import Great Expectations in the background."""
    thread = threading.Thread(target=_great_expectations, name="import great_expectations", daemon=True)
    thread.start()
    return thread


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Sources, each with one session that is ready, for one thread at a time.

    snapshots: the exported snapshot that their next transactions see. stopping: nothing more is asked.
    """

    gx: Any
    sources: Sequence[Any]
    snapshots: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def engine(database: Database, *, sources: int, patience: float) -> Iterator[Engine]:
    """Great Expectations, imported and connected. patience: seconds that one question may take."""
    gx = _great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    with contextlib.ExitStack() as stack:
        found = Engine(gx=gx, sources=[_source(context, database, number) for number in range(sources)])
        for source in found.sources:
            alchemy = source.get_execution_engine().engine
            stack.callback(alchemy.dispose)
            _listen(alchemy, found, database, patience)
        yield found


def batch_of(source: Any, whole: str) -> Any:
    """The batch whose rows are those of a query."""
    (subject,) = source.assets  # made once: Great Expectations writes a new one down as YAML, which takes its time
    subject.query = whole
    return subject.get_batch_definition("all").get_batch()


def validate(gx: Any, batch: Any, checks: Sequence[Check], result_format: dict[str, Any]) -> dict[str, Any]:
    """The answers by the name of the check. One that is missing was not answered."""
    suite = gx.ExpectationSuite(name="gate", expectations=[check.definition for check in checks])
    result = batch.validate(suite, result_format=result_format)
    return {answer.expectation_config.meta["name"]: answer.to_json_dict() for answer in result.results}


@contextlib.contextmanager
def cursor_of(source: Any) -> Iterator[extensions.cursor]:
    """A cursor in a transaction of the source's session, on the snapshot."""
    with source.get_execution_engine().engine.begin() as connection:
        cursor = connection.connection.cursor()
        try:
            yield cursor
        finally:
            cursor.close()


def _great_expectations() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations

    return great_expectations


def _source(context: Any, database: Database, number: int) -> Any:
    options = f"{database.parameters.get('options', '')} -c default_transaction_read_only=on".strip()
    arguments = {**database.parameters, "options": options, "application_name": database.application_name}
    source = context.data_sources.add_sql(
        f"gate {number}",
        connection_string="postgresql+psycopg2://",
        kwargs={"isolation_level": "REPEATABLE READ", "connect_args": arguments, "hide_parameters": True},
    )
    source.add_query_asset("subject", query="SELECT 1 AS nothing").add_batch_definition_whole_table("all")
    return source


def _listen(alchemy: Any, found: Engine, database: Database, patience: float) -> None:
    from sqlalchemy import event

    alchemy.dispose()  # what was opened before the listeners is neither pinned nor on the snapshot
    event.listen(alchemy, "connect", lambda connection, _: _prepare(connection, database, patience))
    alchemy.connect().close()  # the pool has one that is ready
    event.listen(alchemy, "begin", lambda connection: connection.exec_driver_sql(_use(found.snapshots)))
    event.listen(alchemy, "before_cursor_execute", partial(_columns_only, found.stopping), retval=True)


def _prepare(connection: extensions.connection, database: Database, patience: float) -> None:
    database.sessions.add(connection)
    pin(connection)
    with connection.cursor() as cursor:
        cursor.execute(_PLANNED)
        cursor.execute("SELECT set_config('statement_timeout', %s, false)", (f"{patience * 1000:.0f}ms",))
    connection.commit()  # or the pool's rollback would take the settings back


def _use(snapshots: Sequence[str]) -> str:
    return f"SET TRANSACTION SNAPSHOT '{snapshots[0]}'"


def _columns_only(stopping: threading.Event, connection, cursor, statement, parameters, context, many):
    """To learn a query's columns, Great Expectations fetches all its rows; marked queries answer with none."""
    if stopping.is_set():
        raise RuntimeError("Nobody waits for the answer any more.")
    if statement.startswith(WHOLE):
        statement += " LIMIT 0"
    return statement, parameters
