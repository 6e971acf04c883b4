"""The numbered files: `NN_name.sql`, each with its way back beside it, `NN_name.rollback.sql`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pipelines.table_move.errors import Blocked, UsageProblem

FOLDER = Path(__file__).parents[2] / "sql"

_NUMBERED = re.compile(r"(\d{2,})_([a-z0-9_]+)\.sql")
_FORWARD = """-- {number:02d}: what it does, in a sentence.
--
-- What it does   …
-- Locks          …
-- Time           …
-- Going back     {name}.rollback.sql

CREATE SCHEMA IF NOT EXISTS pipelines_migrations;
CREATE TABLE IF NOT EXISTS pipelines_migrations.applied (
    number     bigint PRIMARY KEY,
    name       text NOT NULL,
    sha256     text,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT session_user
);
INSERT INTO pipelines_migrations.applied (number, name) VALUES ({number}, '{name}')
ON CONFLICT DO NOTHING;
"""
_BACK = """-- {number:02d}, back.

DELETE FROM pipelines_migrations.applied WHERE number = {number};
"""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One numbered file. `sha256` is that of its bytes, in hexadecimal digits."""

    number: int
    name: str
    path: Path
    sha256: str

    @property
    def is_transactional(self) -> bool:
        """Whether the file is one transaction; `-- transactional: false` says that it is not."""
        text = self.path.read_text(encoding="utf-8")
        return not re.search(r"^-- transactional: false$", text, re.MULTILINE)


def read(folder: Path) -> list[Migration]:
    """All files in order. Raises Blocked for a gap, a number that two files have, or a missing way back."""
    numbered = sorted(path for path in folder.glob("*.sql") if _NUMBERED.fullmatch(path.name))
    found = [
        Migration(number=int(path.name.partition("_")[0]), name=path.stem, path=path, sha256=_digest(path))
        for path in numbered
    ]
    for place, migration in enumerate(sorted(found, key=lambda each: each.number), start=1):
        if migration.number != place:
            raise _badly_numbered(found, place)
    for migration in found:
        if not way_back(migration).exists():
            raise Blocked(
                f"{migration.path.name} has no way back beside it.",
                untouched="Nothing was read from or written to the database.",
                next_step=f"Write {way_back(migration).name}, then run the same command again.",
            )
    return found


def way_back(migration: Migration) -> Path:
    return migration.path.with_name(f"{migration.name}.rollback.sql")


def create(folder: Path, name: str) -> tuple[Path, Path]:
    """The next number, forward and back, as files to fill in."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{2,60}", name):
        raise UsageProblem(
            f"{name!r} is no name for a migration.",
            untouched="No file was written.",
            next_step="Lower case letters, digits and _, such as add_index_for_agents.",
        )
    number = len(read(folder)) + 1
    whole = f"{number:02d}_{name}"
    forward, back = folder / f"{whole}.sql", folder / f"{whole}.rollback.sql"
    forward.write_text(_FORWARD.format(number=number, name=whole), encoding="utf-8")
    back.write_text(_BACK.format(number=number), encoding="utf-8")
    return forward, back


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _badly_numbered(found: list[Migration], place: int) -> Blocked:
    numbers = [migration.number for migration in found]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    names = ", ".join(migration.path.name for migration in found if migration.number in twice)
    what = f"Two files have one number: {names}." if twice else f"There is a gap: no file has the number {place:02d}."
    return Blocked(
        what,
        untouched="Nothing was read from or written to the database.",
        next_step="Number the files 01, 02, 03 … without gaps, then run the same command again.",
    )
