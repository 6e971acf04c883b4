"""A subject read once: what its suite asks of it goes into a temporary table, which answers all its questions.

Great Expectations asks several times, for the number of rows, for those that fail, for their keys; each time the
whole subject with its joins and fingerprints would be computed again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from psycopg2 import Error, errors, sql

from pipelines.table_move.database.queries import query
from pipelines.table_move.quality.engine import Source
from pipelines.table_move.quality.samples import KEYS
from pipelines.table_move.quality.suites import Suite

_KEPT = sql.Identifier("pg_temp", "subject")


def keep(source: Source, suite: Suite, subject: sql.Composable) -> sql.Composable | None:
    """Read the subject on the snapshot of the source. Returns the query of what was kept, which needs no snapshot.

    None: it could not be kept, because the server allows no temporary table or somebody has cancelled a statement.
    Raises QueryCanceled where reading takes longer than a question may, LockNotAvailable where somebody keeps readers
    out, and what the server said where the session is lost.
    """
    started = time.monotonic()
    try:
        return _keep(source, suite, subject)
    except Error as problem:
        in_vain = isinstance(problem, errors.QueryCanceled) and time.monotonic() - started >= source.patience
        if source.lost or in_vain or isinstance(problem, errors.LockNotAvailable):
            raise
        return None


def _keep(source: Source, suite: Suite, subject: sql.Composable) -> sql.Composable:
    with source.cursor() as cursor:
        cursor.execute(query("subjects.columns", subject=subject))
        asked = _asked(suite, (column.name for column in cursor.description))
    names = {"kept": _KEPT, "columns": sql.SQL(", ").join(map(sql.Identifier, asked)), "subject": subject}
    with source.writing() as cursor:
        cursor.execute(query("subjects.forget_kept", kept=_KEPT))
        cursor.execute(query("subjects.make_kept", **names))
    with source.cursor() as cursor:  # read-only: the server lets nothing be written but a temporary table
        cursor.execute(query("subjects.keep", **names))
    return sql.SQL("SELECT * FROM {}").format(_KEPT)


def _asked(suite: Suite, columns: Iterable[str]) -> list[str]:
    """The columns that the suite may mean, and those that name a row."""
    mentioned = json.dumps([check.definition["kwargs"] for check in suite.checks], ensure_ascii=False)
    return [column for column in columns if column in KEYS[suite.subject] or column in mentioned]
