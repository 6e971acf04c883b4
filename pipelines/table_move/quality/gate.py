"""The gate: suites of expectations over the committed rows, all on one snapshot, read-only.

The only module that imports Great Expectations, and only inside functions: the import takes seconds, so that `run`
starts it in the background (`warm_up`) while rows are copied.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2 import extensions

from pipelines.table_move.database.connect import Database, Session, pin
from pipelines.table_move.database.names import Names
from pipelines.table_move.quality.subjects import Standing, subject_query
from pipelines.table_move.quality.suites import Check, Suite
from pipelines.table_move.records import CheckRow

KEPT = 1000  # keys that the journal keeps, for the list of rows to decide on
PATIENCE = 1800.0  # seconds that one question may take
_KEYS = {
    "source": ["source_id"],
    "target": ["source_id", "owner_id"],
    "references": ["table_name", "row_key", "column_name"],
    "reconciliation": ["owner"],
}


def warm_up() -> threading.Thread:
    """Import Great Expectations in the background."""
    thread = threading.Thread(target=_great_expectations, name="import great_expectations", daemon=True)
    thread.start()
    return thread


def run_suites(
    database: Database, names: Names, suites: Sequence[Suite], *, phase: str, standing: Standing
) -> list[CheckRow]:
    """Run suites on one exported snapshot. An expectation that raises, or that is missing in the answer, has failed."""
    with opened(database) as gate:
        return gate.ask(names, suites, phase=phase, standing=standing)


@contextlib.contextmanager
def opened(database: Database, *, patience: float = PATIENCE) -> Iterator[Gate]:
    """A gate that is imported and connected, so that asking it takes no longer than its questions.

    patience: seconds that one question may take.
    """
    gx = _great_expectations()
    with database.session() as session, _engine(gx, database, patience) as (source, snapshots):
        session.set_session(isolation_level="REPEATABLE READ", readonly=True)
        yield Gate(gx=gx, source=source, session=session, snapshots=snapshots)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Great Expectations over one database. Each time it is asked, it looks at one snapshot, exported by `session`."""

    gx: Any
    source: Any
    session: Session
    snapshots: list[str]

    def ask(self, names: Names, suites: Sequence[Suite], *, phase: str, standing: Standing) -> list[CheckRow]:
        """The answers of the suites. An expectation that raises, or that is missing in the answer, has failed."""
        with self.session, self.session.cursor() as cursor, contextlib.redirect_stdout(sys.stderr):
            cursor.execute(_PLANNED)
            cursor.execute("SELECT pg_export_snapshot()")
            self.snapshots[:] = cursor.fetchone()
            rows = []
            for suite in suites:
                subject = subject_query(names, suite.subject, standing).as_string(cursor)
                rows += self._run(cursor, suite, subject, phase)
            return rows

    def _run(self, cursor: extensions.cursor, suite: Suite, query: str, phase: str) -> list[CheckRow]:
        started = time.monotonic()
        # OFFSET 0 keeps the subject whole: pulled up, its fingerprints would be computed once for every mention.
        whole = f"{_WHOLE}{query}\nOFFSET 0) subject"
        batch = self._batch(suite.subject, whole)
        answers = _validate(self.gx, batch, suite.checks, _counted(suite.subject))
        failed = [check for check in suite.checks if _count(answers.get(check.name))]
        by_query = [check for check in failed if "unexpected_rows_query" in check.definition["kwargs"]]
        if by_query:
            answers |= _validate(self.gx, batch, by_query, {"result_format": "COMPLETE"})
        samples = {check.name: _samples(cursor, suite.subject, whole, answers[check.name]) for check in failed}
        seconds = (time.monotonic() - started) / len(suite.checks)
        return [
            _row(suite.subject, check, answers.get(check.name), samples.get(check.name, []), phase, seconds)
            for check in suite.checks
        ]

    def _batch(self, subject: str, whole: str) -> Any:
        if subject in {asset.name for asset in self.source.assets}:
            self.source.delete_asset(subject)
        asset = self.source.add_query_asset(subject, query=whole)
        return asset.add_batch_definition_whole_table("all").get_batch()


def _great_expectations() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations

    return great_expectations


@contextlib.contextmanager
def _engine(gx: Any, database: Database, patience: float) -> Iterator[tuple[Any, list[str]]]:
    """A Great Expectations data source whose every transaction is read-only and sees the snapshot in the list."""
    from sqlalchemy import event

    snapshots: list[str] = []
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    options = f"{database.parameters.get('options', '')} -c default_transaction_read_only=on".strip()
    arguments = {**database.parameters, "options": options, "application_name": database.application_name}
    source = context.data_sources.add_sql(
        "gate",
        connection_string="postgresql+psycopg2://",
        kwargs={"isolation_level": "REPEATABLE READ", "connect_args": arguments, "hide_parameters": True},
    )
    engine = source.get_execution_engine().engine
    engine.dispose()  # what was opened before the listeners is neither pinned nor on the snapshot
    event.listen(engine, "connect", lambda connection, _: _prepare(connection, database, patience))
    engine.connect().close()  # the pool has one that is ready
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(_use(snapshots)))
    event.listen(engine, "before_cursor_execute", _columns_only, retval=True)
    try:
        yield source, snapshots
    finally:
        engine.dispose()


def _prepare(connection: extensions.connection, database: Database, patience: float) -> None:
    database.sessions.add(connection)
    pin(connection)
    with connection.cursor() as cursor:
        cursor.execute(_PLANNED)
        cursor.execute("SELECT set_config('statement_timeout', %s, false)", (f"{patience * 1000:.0f}ms",))
    connection.commit()  # or the pool's rollback would take the settings back


def _use(snapshots: Sequence[str]) -> str:
    return f"SET TRANSACTION SNAPSHOT '{snapshots[0]}'"


def _columns_only(connection, cursor, statement, parameters, context, many):
    """To learn a query's columns, Great Expectations fetches all its rows; marked queries answer with none."""
    if statement.startswith(_WHOLE):
        statement += " LIMIT 0"
    return statement, parameters


# A query for failing rows ends in LIMIT, which makes the planner believe that the first row comes soon; where all is
# well there is none, and a nested loop over whole tables takes minutes.
_PLANNED = "SET enable_nestloop = off"

# Only the query asset itself begins like this; every real question has it in a subquery.
_WHOLE = "SELECT * FROM /* whole subject */ ("


def _counted(subject: str) -> dict[str, Any]:
    """How many rows fail, and the query that finds them; asked for values as well, it would scan once more for each."""
    return {
        "result_format": "BASIC",
        "partial_unexpected_count": 0,
        "unexpected_index_column_names": _KEYS[subject],
        "return_unexpected_index_query": True,
    }


def _validate(gx: Any, batch: Any, checks: Sequence[Check], result_format: dict[str, Any]) -> dict[str, Any]:
    suite = gx.ExpectationSuite(name="gate", expectations=[check.definition for check in checks])
    result = batch.validate(suite, result_format=result_format)
    return {answer.expectation_config.meta["name"]: answer.to_json_dict() for answer in result.results}


def _passed(answer: dict[str, Any] | None) -> bool:
    return answer is not None and bool(answer["success"]) and _raised(answer) is None


def _count(answer: dict[str, Any] | None) -> int:
    """How many rows fail; some may while the expectation as a whole is met."""
    result = (answer or {}).get("result") or {}
    count = result.get("unexpected_count", result.get("observed_value", 0))
    return count if isinstance(count, int) else 0


def _raised(answer: dict[str, Any]) -> str | None:
    info = answer.get("exception_info") or {}
    for entry in [info] if "raised_exception" in info else list(info.values()):
        if entry.get("raised_exception"):
            return str(entry.get("exception_message") or "it raised").strip().partition("\n")[0]
    return None


def _row(
    subject: str, check: Check, answer: dict[str, Any] | None, samples: list[str], phase: str, seconds: float
) -> CheckRow:
    result = (answer or {}).get("result") or {}
    return CheckRow(
        phase=phase,
        suite=subject,
        expectation=check.name,
        severity=check.severity,
        success=_passed(answer),
        observed=None if "observed_value" not in result else str(result["observed_value"]),
        unexpected_count=_count(answer),
        reason=check.reason,
        remedy=check.remedy,
        samples=samples,
        error="Great Expectations did not answer" if answer is None else _raised(answer),
        seconds=round(seconds, 4),
    )


def _samples(cursor: extensions.cursor, subject: str, whole: str, answer: dict[str, Any]) -> list[str]:
    """Keys of failing rows, at most 1000; never their texts."""
    result = answer.get("result") or {}
    rows = (result.get("details") or {}).get("unexpected_rows") or []
    keys = _KEYS[subject]
    if query := result.get("unexpected_index_query"):
        # Great Expectations forgets that a query in FROM needs parentheses and a name.
        cursor.execute(f"{query.replace(whole, f'({whole}) failing').rstrip().rstrip(';')} LIMIT {KEPT}")
        columns = [column.name for column in cursor.description]
        rows = [dict(zip(columns, row, strict=True)) for row in cursor]
    return [" / ".join(str(row[key]) for key in keys if key in row) for row in rows[:KEPT]]
