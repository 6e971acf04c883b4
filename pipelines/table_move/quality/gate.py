"""The gate: suites of expectations over the committed rows, on one snapshot. It writes only what it keeps of them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

from psycopg2 import Error, OperationalError, errors, sql

from pipelines.table_move.database.connect import Database, Session
from pipelines.table_move.database.names import Names
from pipelines.table_move.database.server_error import ServerError
from pipelines.table_move.quality.engine import WHOLE, Engine, Source, engine, warm_up
from pipelines.table_move.quality.kept import keep
from pipelines.table_move.quality.samples import KEYS, samples
from pipelines.table_move.quality.subjects import Standing, subject_query
from pipelines.table_move.quality.suites import Check, Suite
from pipelines.table_move.records import CheckRow

__all__ = ["Gate", "opened", "run_suites", "warm_up"]

PATIENCE = 1800.0  # seconds that one question may take
SIDE_BY_SIDE = 2  # suites that are asked at once
NO_ANSWER = "Great Expectations did not answer"


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
        with session, session.cursor() as cursor:  # it holds a snapshot and no lock, for as long as the others ask
            cursor.execute("SET idle_in_transaction_session_timeout = 0")
        yield Gate(engine=ready, session=session)


class GateLeft(Exception):
    """Somebody has stopped the gate before it had answered."""


@contextlib.contextmanager
def _without_prints() -> Iterator[None]:
    """What a library prints may hold rows, and stdout is for the answer."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


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
        with self.session, self.session.cursor() as cursor, _without_prints():
            cursor.execute("SELECT pg_export_snapshot()")
            (snapshot,) = cursor.fetchone()
            idle: SimpleQueue[Source] = SimpleQueue()
            for source in self.engine.sources:
                idle.put(source)

            def ask_one(suite: Suite) -> list[CheckRow]:
                source = idle.get()
                try:
                    source.snapshot = snapshot
                    return self._run(source, suite, subject_query(names, suite.subject, standing), phase)
                finally:
                    idle.put(source)

            with ThreadPoolExecutor(len(self.engine.sources)) as executor:
                try:
                    rows = [row for rows in executor.map(ask_one, suites) for row in rows]
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

    def _run(self, source: Source, suite: Suite, subject: sql.Composable, phase: str) -> list[CheckRow]:
        if self.engine.stopping.is_set():
            return []
        started = time.monotonic()
        answers, keys, error = {}, {}, NO_ANSWER
        try:
            answers, keys = _answers(source, suite, _kept(source, suite, subject))
        except errors.QueryCanceled as problem:
            error = f"It took longer than a question may, or was cancelled: {ServerError.of(problem)}."
        if source.lost:
            raise OperationalError("The session of the checks was taken away.")
        seconds = (time.monotonic() - started) / len(suite.checks)
        return [
            _row(
                suite.subject,
                check,
                answers.get(check.name),
                keys.get(check.name, []),
                phase,
                seconds,
                error if check.name not in answers else _raised(answers[check.name], source.reported),
            )
            for check in suite.checks
        ]


def _kept(source: Source, suite: Suite, subject: sql.Composable) -> sql.Composable:
    """What was kept of the subject, or the subject itself: where a check brings a query of its own, which may look
    elsewhere and belongs on the snapshot as well, or where the server lets us have no temporary table."""
    if any(_own_query(check) for check in suite.checks):
        return _whole(subject)
    kept = keep(source, suite, subject)
    if kept is None:
        return _whole(subject)
    source.snapshot = None  # what was kept of it is younger than the snapshot itself
    return kept


def _whole(subject: sql.Composable) -> sql.Composable:
    """OFFSET 0 keeps it whole: pulled up, its fingerprints would be computed once for every mention."""
    return sql.SQL("{}\nOFFSET 0").format(subject)


def _answers(source: Source, suite: Suite, subject: sql.Composable) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The answers and the keys of failing rows, by the name of the check."""
    whole = f"{WHOLE}{source.text_of(subject)}) subject"
    batch = source.batch_of(whole)
    answers = source.validate(batch, suite.checks, _counted(suite.subject))
    failed = [check for check in suite.checks if _count(answers.get(check.name))]
    by_query = [check for check in failed if _own_query(check)]
    if by_query:
        answers |= source.validate(batch, by_query, {"result_format": "COMPLETE"})
    keys: dict[str, list[str]] = {}
    if failed:
        results = {check.name: answers[check.name].get("result") or {} for check in failed}
        # Without keys, for the sake of which nobody needs to wait for longer, the answer is still an answer.
        with contextlib.suppress(Error), source.cursor() as cursor:
            keys = samples(cursor, suite.subject, whole, results)
    return answers, keys


def _own_query(check: Check) -> bool:
    return "unexpected_rows_query" in check.definition["kwargs"]


def _counted(subject: str) -> dict[str, Any]:
    """How many rows fail, and the query that finds them; asked for values as well, it would scan once more for each."""
    return {
        "result_format": "BASIC",
        "partial_unexpected_count": 0,
        "unexpected_index_column_names": KEYS[subject],
        "return_unexpected_index_query": True,
    }


def _passed(answer: dict[str, Any] | None) -> bool:
    return answer is not None and bool(answer["success"]) and _message(answer) is None


def _count(answer: dict[str, Any] | None) -> int:
    """How many rows fail; some may while the expectation as a whole is met."""
    result = (answer or {}).get("result") or {}
    count = result.get("unexpected_count", result.get("observed_value", 0))
    return count if isinstance(count, int) else 0


def _message(answer: dict[str, Any]) -> str | None:
    """What Great Expectations says of an expectation that raised. It repeats what the server said: never shown."""
    info = answer.get("exception_info") or {}
    for entry in [info] if "raised_exception" in info else list(info.values()):
        if entry.get("raised_exception"):
            return str(entry.get("exception_message"))
    return None


def _raised(answer: dict[str, Any], reported: Sequence[Error]) -> str | None:
    """Why an expectation raised, in our words. reported: what the server has reported to its session."""
    message = _message(answer)
    if message is None:
        return None
    mine = [one for one in reported if (one.diag.message_primary or "\0") in message]
    why = ServerError.of(mine[0]) if mine else "it does not fit the columns of its subject, or their values"
    return f"It raised instead of answering: {why}."


def _observed(result: dict[str, Any]) -> str | None:
    """A number. Anything else, a greatest value or a list of values, may be a text of the application's."""
    value = result.get("observed_value")
    return str(value) if isinstance(value, int | float) else None


def _row(
    subject: str,
    check: Check,
    answer: dict[str, Any] | None,
    samples: list[str],
    phase: str,
    seconds: float,
    error: str | None,
) -> CheckRow:
    result = (answer or {}).get("result") or {}
    return CheckRow(
        phase=phase,
        suite=subject,
        expectation=check.name,
        severity=check.severity,
        success=_passed(answer),
        observed=_observed(result),
        unexpected_count=_count(answer),
        reason=check.reason,
        remedy=check.remedy,
        samples=samples,
        error=error,
        seconds=seconds,
    )
