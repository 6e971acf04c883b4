"""The gate: suites of expectations over the committed rows, all on one snapshot, read-only."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

from psycopg2 import Error, sql

from pipelines.table_move.database.connect import Database, Session
from pipelines.table_move.database.names import Names
from pipelines.table_move.quality.engine import WHOLE, Engine, batch_of, cursor_of, engine, validate, warm_up
from pipelines.table_move.quality.samples import KEYS, samples
from pipelines.table_move.quality.subjects import READ_ONCE, Standing, subject_query
from pipelines.table_move.quality.suites import Check, Suite
from pipelines.table_move.records import CheckRow

__all__ = ["Gate", "opened", "run_suites", "warm_up"]

PATIENCE = 1800.0  # seconds that one question may take
SIDE_BY_SIDE = 2  # suites that are asked at once


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
    with database.session() as session, engine(database, sources=SIDE_BY_SIDE, patience=patience) as ready:
        session.set_session(isolation_level="REPEATABLE READ", readonly=True)
        yield Gate(engine=ready, session=session)


class GateLeft(Exception):
    """Somebody has stopped the gate before it had answered."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Great Expectations over one database. Each time it is asked, it looks at one snapshot, exported by `session`."""

    engine: Engine
    session: Session

    def ask(self, names: Names, suites: Sequence[Suite], *, phase: str, standing: Standing) -> list[CheckRow]:
        """The answers of the suites. An expectation that raises, or that is missing in the answer, has failed.

        Suites that are asked at once share the time: the seconds of all checks are those that somebody waits.
        """
        started = time.monotonic()
        with self.session, self.session.cursor() as cursor, contextlib.redirect_stdout(sys.stderr):
            cursor.execute("SELECT pg_export_snapshot()")
            self.engine.snapshots[:] = cursor.fetchone()
            queries = [subject_query(names, suite.subject, standing).as_string(cursor) for suite in suites]
            idle: SimpleQueue[Any] = SimpleQueue()
            for source in self.engine.sources:
                idle.put(source)

            def ask_one(suite: Suite, query: str) -> list[CheckRow]:
                source = idle.get()
                try:
                    return self._run(source, suite, query, phase)
                finally:
                    idle.put(source)

            with ThreadPoolExecutor(len(self.engine.sources)) as executor:
                try:
                    rows = [row for rows in executor.map(ask_one, suites, queries) for row in rows]
                except BaseException:
                    self.stop()
                    raise
        if self.engine.stopping.is_set():  # what was not asked any more would read as failed
            raise GateLeft("The gate was left before it had answered.")
        share = (time.monotonic() - started) / (sum(row.seconds for row in rows) or 1.0)
        return [replace(row, seconds=round(row.seconds * share, 4)) for row in rows]

    def stop(self) -> None:
        """Ask nothing more, now or later. For another thread."""
        self.engine.stopping.set()

    def _run(self, source: Any, suite: Suite, query: str, phase: str) -> list[CheckRow]:
        started = time.monotonic()
        if suite.subject in READ_ONCE:
            query = _read(source, query)
        # OFFSET 0 keeps the subject whole: pulled up, its fingerprints would be computed once for every mention.
        whole = f"{WHOLE}{query}\nOFFSET 0) subject"
        batch = batch_of(source, whole)
        answers = validate(self.engine.gx, batch, suite.checks, _counted(suite.subject))
        failed = [check for check in suite.checks if _count(answers.get(check.name))]
        by_query = [check for check in failed if "unexpected_rows_query" in check.definition["kwargs"]]
        if by_query:
            answers |= validate(self.engine.gx, batch, by_query, {"result_format": "COMPLETE"})
        keys: dict[str, list[str]] = {}
        if failed:
            results = {check.name: answers[check.name].get("result") or {} for check in failed}
            # Without keys, for the sake of which nobody needs to wait for longer, the answer is still an answer.
            with contextlib.suppress(Error), cursor_of(source) as cursor:
                keys = samples(cursor, suite.subject, whole, results)
        seconds = (time.monotonic() - started) / len(suite.checks)
        return [
            _row(suite.subject, check, answers.get(check.name), keys.get(check.name, []), phase, seconds)
            for check in suite.checks
        ]


def _read(source: Any, query: str) -> str:
    """The rows of a query as a query that costs nothing any more; the query itself where there are too many of them."""
    with cursor_of(source) as cursor:
        cursor.execute(query)
        rows = cursor.fetchmany(_FEW + 1)
        if not rows or len(rows) > _FEW:
            return query
        columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in cursor.description)
        values = sql.SQL(", ").join(sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, row))) for row in rows)
        return sql.SQL("SELECT * FROM (VALUES {}) AS q ({})").format(values, columns).as_string(cursor)


_FEW = 10_000


def _counted(subject: str) -> dict[str, Any]:
    """How many rows fail, and the query that finds them; asked for values as well, it would scan once more for each."""
    return {
        "result_format": "BASIC",
        "partial_unexpected_count": 0,
        "unexpected_index_column_names": KEYS[subject],
        "return_unexpected_index_query": True,
    }


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
        seconds=seconds,
    )
