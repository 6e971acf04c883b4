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
from typing import Any

from psycopg2 import extensions

from pipelines.table_move.database.connect import Database, pin
from pipelines.table_move.database.names import Names
from pipelines.table_move.quality.subjects import Standing, subject_query
from pipelines.table_move.quality.suites import Check, Suite
from pipelines.table_move.records import CheckRow

KEPT = 1000  # keys that the journal keeps, for the list of rows to decide on
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
    gx = _great_expectations()
    with database.reading() as cursor, contextlib.redirect_stdout(sys.stderr), _engine(gx, database, cursor) as source:
        rows = []
        for suite in suites:
            subject = subject_query(names, suite.subject, standing).as_string(cursor)
            rows += _run(gx, source, suite, subject, phase)
        return rows


def _great_expectations() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations

    return great_expectations


@contextlib.contextmanager
def _engine(gx: Any, database: Database, cursor: extensions.cursor) -> Iterator[Any]:
    """A Great Expectations data source whose every transaction is read-only and sees the cursor's snapshot."""
    from sqlalchemy import event

    cursor.execute("SELECT pg_export_snapshot()")
    snapshot = cursor.fetchone()[0]
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
    event.listen(engine, "connect", lambda connection, _: _prepare(connection, database))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(_use(snapshot)))
    event.listen(engine, "before_cursor_execute", _columns_only, retval=True)
    try:
        yield source
    finally:
        engine.dispose()


def _prepare(connection: extensions.connection, database: Database) -> None:
    database.sessions.add(connection)
    pin(connection)
    with connection.cursor() as cursor:
        # A failing-row query ends in LIMIT, which makes the planner believe that the first row comes soon; where all
        # is well there is none, and a nested loop over whole tables takes minutes.
        cursor.execute("SET enable_nestloop = off")
    connection.commit()  # or the pool's rollback would take the settings back


def _use(snapshot: str) -> str:
    return f"SET TRANSACTION SNAPSHOT '{snapshot}'"


def _columns_only(connection, cursor, statement, parameters, context, many):
    """To learn a query's columns, Great Expectations fetches all its rows; marked queries answer with none."""
    if statement.startswith(_WHOLE):
        statement += " LIMIT 0"
    return statement, parameters


# Only the query asset itself begins like this; every real question has it in a subquery.
_WHOLE = "SELECT * FROM /* whole subject */ ("


def _run(gx: Any, source: Any, suite: Suite, query: str, phase: str) -> list[CheckRow]:
    started = time.monotonic()
    # OFFSET 0 keeps the subject whole: pulled up, its fingerprints would be computed once for every mention.
    asset = source.add_query_asset(suite.subject, query=f"{_WHOLE}{query}\nOFFSET 0) subject")
    batch = asset.add_batch_definition_whole_table("all").get_batch()
    answers = _validate(gx, batch, suite.checks, {"result_format": "BOOLEAN_ONLY"})
    # Counts and samples cost two more scans each, so only what needs them asks for them.
    look_again = [check for check in suite.checks if not _passed(answers.get(check.name)) or _is_partial(check)]
    for details in _details(suite.subject, look_again):
        answers |= _validate(gx, batch, *details)
    seconds = (time.monotonic() - started) / len(suite.checks)
    return [_row(suite.subject, check, answers.get(check.name), phase, seconds) for check in suite.checks]


def _details(subject: str, checks: Sequence[Check]) -> Iterator[tuple[list[Check], dict[str, Any]]]:
    by_query = [check for check in checks if "unexpected_rows_query" in check.definition["kwargs"]]
    by_column = [check for check in checks if check not in by_query]
    if by_query:
        yield by_query, {"result_format": "COMPLETE"}
    if by_column:
        yield (
            by_column,
            {
                "result_format": "SUMMARY",
                "partial_unexpected_count": KEPT,
                "unexpected_index_column_names": _KEYS[subject],
            },
        )


def _validate(gx: Any, batch: Any, checks: Sequence[Check], result_format: dict[str, Any]) -> dict[str, Any]:
    suite = gx.ExpectationSuite(name="gate", expectations=[check.definition for check in checks])
    result = batch.validate(suite, result_format=result_format)
    return {answer.expectation_config.meta["name"]: answer.to_json_dict() for answer in result.results}


def _passed(answer: dict[str, Any] | None) -> bool:
    return answer is not None and bool(answer["success"]) and _raised(answer) is None


def _is_partial(check: Check) -> bool:
    return float(check.definition["kwargs"].get("mostly", 1)) < 1


def _raised(answer: dict[str, Any]) -> str | None:
    info = answer.get("exception_info") or {}
    for entry in [info] if "raised_exception" in info else list(info.values()):
        if entry.get("raised_exception"):
            return str(entry.get("exception_message") or "it raised").strip().partition("\n")[0]
    return None


def _row(subject: str, check: Check, answer: dict[str, Any] | None, phase: str, seconds: float) -> CheckRow:
    result = (answer or {}).get("result") or {}
    error = "Great Expectations did not answer" if answer is None else _raised(answer)
    count = result.get("unexpected_count", result.get("observed_value", 0))
    return CheckRow(
        phase=phase,
        suite=subject,
        expectation=check.name,
        severity=check.severity,
        success=_passed(answer),
        observed=None if "observed_value" not in result else str(result["observed_value"]),
        unexpected_count=count if isinstance(count, int) else 0,
        reason=check.reason,
        remedy=check.remedy,
        samples=_samples(subject, result),
        error=error,
        seconds=round(seconds, 4),
    )


def _samples(subject: str, result: dict[str, Any]) -> list[str]:
    """Keys of failing rows; never their texts."""
    rows = result.get("partial_unexpected_index_list") or (result.get("details") or {}).get("unexpected_rows") or []
    keys = _KEYS[subject]
    return [" / ".join(str(row[key]) for key in keys if key in row) for row in rows[:KEPT]]
