"""The attempts in the journal: one row each, how it went, and what the gate answered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from psycopg2 import extensions
from psycopg2.extras import execute_batch

from pipelines.table_move.database.queries import query
from pipelines.table_move.records import CheckRow, RunRow
from pipelines.table_move.status import Phase, State


def last_run(cursor: extensions.cursor, move: str, run_id: int | None = None) -> RunRow | None:
    """The newest attempt of a move, or the one asked for."""
    cursor.execute(query("journal.last_run"), {"move": move, "run_id": run_id})
    row = cursor.fetchone()
    if row is None:
        return None
    return RunRow(
        run_id=row[0],
        state=State(row[1]),
        phase=Phase(row[2]),
        started_at=row[3],
        finished_at=row[4],
        error=row[5],
        rows_written=row[6],
        timings=row[7],
        summary=row[8],
    )


def begin(
    cursor: extensions.cursor, move: str, *, phase: Phase, code_version: str, settings: Mapping[str, object]
) -> int:
    values = {"move": move, "phase": phase, "code_version": code_version, "settings": json.dumps(settings)}
    cursor.execute(query("journal.begin"), values)
    return int(cursor.fetchone()[0])


def note_idle_run(
    cursor: extensions.cursor,
    move: str,
    *,
    state: State,
    phase: Phase,
    code_version: str,
    settings: Mapping[str, object],
    summary: Mapping[str, object],
) -> int:
    """The one row that an attempt with nothing to do writes."""
    values = {
        "move": move,
        "state": state,
        "phase": phase,
        "code_version": code_version,
        "settings": json.dumps(settings),
        "summary": json.dumps(summary),
    }
    cursor.execute(query("journal.note_idle_run"), values)
    return int(cursor.fetchone()[0])


def abandon(cursor: extensions.cursor, move: str, run_id: int = 0) -> None:
    """Note that attempts which ended without a word were interrupted; run_id is the one that is at work."""
    cursor.execute(query("journal.abandon"), {"move": move, "run_id": run_id})


def enter_phase(cursor: extensions.cursor, run_id: int, phase: Phase) -> None:
    cursor.execute(query("journal.enter_phase"), {"run_id": run_id, "phase": phase})


def finish(
    cursor: extensions.cursor,
    run_id: int,
    *,
    state: State,
    phase: Phase,
    error: str | None,
    rows_written: int,
    timings: Mapping[str, float],
    summary: Mapping[str, object] | None,
) -> None:
    values = {
        "run_id": run_id,
        "state": state,
        "phase": phase,
        "error": error,
        "rows_written": rows_written,
        "timings": json.dumps(timings),
        "summary": None if summary is None else json.dumps(summary),
    }
    cursor.execute(query("journal.finish"), values)


def add_checks(cursor: extensions.cursor, run_id: int, rows: Sequence[CheckRow]) -> None:
    values = [{**row.__dict__, "run_id": run_id, "samples": json.dumps(row.samples)} for row in rows]
    execute_batch(cursor, query("journal.add_check"), values)


def went_back(cursor: extensions.cursor, move: str, run_id: int) -> Mapping[str, object] | None:
    """What attempts took back, in all, which had come to the old world and which this one completes."""
    cursor.execute(query("journal.went_back"), {"move": move, "run_id": run_id})
    row = cursor.fetchone()
    return None if row is None else row[0]


def checks(cursor: extensions.cursor, run_id: int) -> list[CheckRow]:
    cursor.execute(query("journal.checks"), {"run_id": run_id})
    names = [column.name for column in cursor.description]
    return [CheckRow(**dict(zip(names, row, strict=True))) for row in cursor]


def runs(cursor: extensions.cursor, move: str) -> list[dict[str, object]]:
    """Every attempt of a move, the newest first, as plain values."""
    cursor.execute(query("journal.runs"), {"move": move})
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
