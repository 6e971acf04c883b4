"""Where a move stands, from the journal and the tables. Reads only, and creates nothing, not even the journal."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from psycopg2 import extensions

from pipelines.table_move.database import census, journal, run_journal
from pipelines.table_move.database.catalog import Located, locate
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.lock import holder
from pipelines.table_move.database.names import Names
from pipelines.table_move.errors import Blocked
from pipelines.table_move.records import RunRow, state_of
from pipelines.table_move.spec import Move
from pipelines.table_move.status import Counts, Phase, ReferenceCounts, State


def look(database: Database, move: Move) -> dict[str, Any]:
    """What `status` shows: the JSON keys of the contract, the lock's holder and the progress of the copy."""
    key = move.key_in(database.schema)
    with database.reading() as cursor:
        row = journal.load(cursor, key) if journal.exists(cursor) else None
        located = locate(cursor, move, database.schema, row)
        facts = located.facts
        if facts.target is None or (facts.source is None and not facts.is_purged):
            raise Blocked(
                f"There is no {database.schema}.{move.source.table} and {move.target.table} to look at.",
                untouched="Nothing was written.",
                next_step="Name the schema of the application with --schema; `plan` says what is missing.",
            )
        held_by = holder(cursor, key)
        if row is None:
            rows = census.source_rows(cursor, located.names)
            state = state_of(None, None, held=held_by is not None)
            return {"move": key, "state": state, "source_rows": rows, "lock_holder": held_by}
        last = run_journal.last_run(cursor, key)
        counts = census.counts if row.has_begun else _old_rows
        references = census.reference_counts(cursor, located.names) if row.has_begun else ReferenceCounts()
        return {
            "move": key,
            "run_id": last.run_id,
            "state": state_of(row, last, held=held_by is not None),
            "phase": last.phase,
            **counts(cursor, located.names).as_dict(),
            "rows_written": last.rows_written,
            "references": asdict(references),
            "gate": (last.summary or {}).get("gate", {"passed": 0, "failed_critical": 0, "failed_warning": 0}),
            "write_pause_ms": row.write_pause_ms,
            "report": (last.summary or {}).get("report"),
            "retired_schema": row.retired_schema,
            "lock_holder": held_by,
            "progress": _progress(cursor, key, located, last),
            "error": last.error,
        }


def _old_rows(cursor: extensions.cursor, names: Names) -> Counts:
    """The counts of a move that was taken back."""
    return Counts(source_rows=census.source_rows(cursor, names))


def _progress(cursor: extensions.cursor, key: str, located: Located, last: RunRow) -> dict[str, Any] | None:
    """Rows copied, rows per second of this attempt, and the seconds that the rest of the copy will take."""
    if last.state is not State.RUNNING or last.phase is not Phase.COPY:
        return None
    cursor.execute(located.names.query("census.copied"), {"run_id": last.run_id})
    rows, of_this_run = cursor.fetchone()
    seconds = max((datetime.now(UTC) - last.started_at).total_seconds(), 0.001)
    left = max(census.source_rows(cursor, located.names) - rows, 0)
    rate = of_this_run / seconds
    return {"rows": rows, "rows_per_second": round(rate, 1), "seconds_left": round(left / rate, 1) if rate else None}
