"""What the report is written from and the JSON shows: counts of the move as it stands, plain values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC
from importlib.metadata import version
from platform import python_version
from typing import Any

from psycopg2 import extensions

from pipelines.table_move.code_version import code_version
from pipelines.table_move.database import census, journal, place, run_journal, to_decide
from pipelines.table_move.database.catalog import Located
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.world import read_server, read_world
from pipelines.table_move.next_calls import next_calls
from pipelines.table_move.pure.command_line import CommandLine
from pipelines.table_move.pure.world import Where
from pipelines.table_move.quality.verdict import counted
from pipelines.table_move.records import CheckRow, newest
from pipelines.table_move.settings import Settings
from pipelines.table_move.status import Counts, Phase, ReferenceCounts, State


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt, or a check on its own (without a run_id), ended. `timings` are seconds per phase."""

    run_id: int | None
    state: State | str
    phase: Phase
    rows_written: int
    timings: Mapping[str, float]
    error: str | None


def summarise(
    cursor: extensions.cursor,
    located: Located,
    ending: Ending,
    *,
    checks: Sequence[CheckRow],
    settings: Settings,
    database: Database,
) -> dict[str, Any]:
    """The summary of a move as it stands; before there is a journal, of the source alone."""
    names = located.names
    row = journal.load(cursor, names.key) if journal.exists(cursor) else None
    last = None if row is None or ending.run_id is None else run_journal.last_run(cursor, names.key, ending.run_id)
    source = located.facts.source
    where = Where(server=read_server(cursor), world=read_world(cursor, names.move, names.schema))
    begun = row is not None and row.has_begun
    references, by_column, by_owner = (
        census.references_in_detail(cursor, names) if begun else (ReferenceCounts(), [], {})
    )
    return {
        "move": names.key,
        "database": database.label,
        "database_id": place.database_id(cursor),
        **where.as_dict(),
        "source_table": names.move.source.table,
        "target_table": names.move.target.table,
        **asdict(ending),
        **(census.counts(cursor, names) if begun else Counts(source_rows=census.source_rows(cursor, names))).as_dict(),
        "references": asdict(references),
        "references_by_column": by_column,
        "references_by_owner": by_owner,
        "gate": asdict(counted(newest(checks))),
        "write_pause_ms": None if row is None or row.write_pause_ms is None else round(row.write_pause_ms, 1),
        "retired_schema": None if row is None else row.retired_schema,
        "old_bytes": None if source is None else source.heap_bytes + source.toast_bytes,
        "milestone": None if row is None else row.milestone,
        "decisions": to_decide.rows_to_decide(cursor, names, references) if begun else {},
        "owners": census.owner_counts(cursor, names) if begun and names.move.owner is not None else [],
        "not_carried": census.not_carried(cursor, names, located.facts),
        "settings": settings.shown(),
        "code_version": code_version(names.move),
        "command": f"python -m {names.move.package}",
        "next": _next_calls(next_calls(settings, names.move), settings, ending.run_id, where.world.archive),
        "started_at": None if last is None else f"{last.started_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "versions": _versions(cursor),
    }


def _next_calls(calls: CommandLine, settings: Settings, run_id: int | None, archive: str | None) -> dict[str, str]:
    """The complete commands that may come next, by their purpose; `needs` is what they want in the environment, and
    `again` the run that ended before its end: it stops where that one was to stop."""
    return {
        "needs": "DATABASE_URL set as for this call" if calls.url_in_environment else "",
        "run": calls.line("run"),
        "again": calls.line("run", *(["--until", settings.until] if settings.until else [])),
        "verify": calls.line("verify"),
        "status": calls.line("status"),
        "report": calls.line("report", *([] if run_id is None else ["--run", str(run_id)])),
        "rollback": calls.line("rollback", *(["--archive", archive] if archive else [])),
        "preview": calls.line("rollback", *(["--archive", archive] if archive else []), "--dry-run"),
    }


def _versions(cursor: extensions.cursor) -> dict[str, str]:
    """What the result was made with."""
    number = cursor.connection.server_version
    packages = ("great-expectations", "pandas", "psycopg2-binary")
    return {
        "PostgreSQL": f"{number // 10_000}.{number % 10_000}",
        "Python": python_version(),
        **{name: version(name) for name in packages},
    }
