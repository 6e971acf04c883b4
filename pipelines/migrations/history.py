"""What is applied: the table into which every file writes its own line, whoever applies it; and what the files say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from psycopg2 import extensions

from pipelines.migrations.files import Migration
from pipelines.table_move.errors import Blocked

SCHEMA = "pipelines_migrations"

_EXISTS = "SELECT to_regclass('pipelines_migrations.applied') IS NOT NULL"
_READ = "SELECT number, name, sha256, applied_at, applied_by FROM pipelines_migrations.applied ORDER BY number"
_CREATE = """
CREATE SCHEMA IF NOT EXISTS pipelines_migrations;
CREATE TABLE IF NOT EXISTS pipelines_migrations.applied (
    number     bigint PRIMARY KEY,
    name       text NOT NULL,
    sha256     text,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT session_user
)
"""
_NOTE = """
INSERT INTO pipelines_migrations.applied (number, name, sha256) VALUES (%(number)s, %(name)s, %(sha256)s)
ON CONFLICT (number) DO UPDATE SET sha256 = excluded.sha256
"""


class State(StrEnum):
    """What is said of a number."""

    PENDING = "pending"
    APPLIED = "applied"
    BY_HAND = "applied by psql"
    EDITED = "edited since"
    WITHOUT_FILE = "applied, its file is missing"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A number with what the database knows of it. `migration` is None where there is no file."""

    number: int
    name: str
    state: State
    migration: Migration | None
    applied_at: datetime | None = None
    applied_by: str | None = None


def look(cursor: extensions.cursor, migrations: Sequence[Migration]) -> list[Line]:
    """Every number, in order. Reads only. What psql applied has a line without a digest, until `up` adds it."""
    cursor.execute(_EXISTS)
    applied = {}
    if cursor.fetchone()[0]:
        cursor.execute(_READ)
        applied = {row[0]: row for row in cursor}
    lines = [_line(migration, applied.pop(migration.number, None)) for migration in migrations]
    lines += [
        Line(number=number, name=name, state=State.WITHOUT_FILE, migration=None, applied_at=at, applied_by=by)
        for number, name, _, at, by in applied.values()
    ]
    return lines


def require_sound(lines: Sequence[Line]) -> None:
    """Raises Blocked where the files are not those that were applied."""
    wrong = [line for line in lines if line.state in (State.EDITED, State.WITHOUT_FILE)]
    if wrong:
        raise Blocked(
            "; ".join(f"{line.name}: {line.state}" for line in wrong) + ".",
            untouched="Nothing was applied or taken back.",
            next_step="Put the files back as they were applied, and write what should change as a new migration "
            "(python -m pipelines.migrations new NAME).",
        )


def prepare(cursor: extensions.cursor) -> None:
    cursor.execute(_CREATE)


def note(cursor: extensions.cursor, migration: Migration) -> None:
    """Which bytes were applied."""
    cursor.execute(_NOTE, {"number": migration.number, "name": migration.name, "sha256": migration.sha256})


def forget(cursor: extensions.cursor, migration: Migration) -> None:
    cursor.execute("DELETE FROM pipelines_migrations.applied WHERE number = %s", (migration.number,))


def _line(migration: Migration, row: tuple | None) -> Line:
    if row is None:
        return Line(number=migration.number, name=migration.name, state=State.PENDING, migration=migration)
    _, name, digest, applied_at, applied_by = row
    known = {None: State.BY_HAND, migration.sha256: State.APPLIED}
    state = known.get(digest, State.EDITED) if name == migration.name else State.EDITED
    return Line(
        number=migration.number,
        name=migration.name,
        state=state,
        migration=migration,
        applied_at=applied_at,
        applied_by=applied_by,
    )
