"""The SQL of the machine: named queries in files under `sql/table_move/`.

A file holds queries, each after a line `-- name: NAME`; the comment lines that follow say what it is for. Names of
tables and columns are placeholders in braces, filled with quoted identifiers; data is always a bound value.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from psycopg2 import sql

FOLDER = Path(__file__).parents[3] / "sql" / "table_move"

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_PURPOSE = re.compile(r"\A(--.*\n)+")
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def read_queries(path: Path) -> dict[str, str]:
    """The queries of a file by name, as they stand there, in the file's order."""
    parts = _NAME.split(path.read_text(encoding="utf-8"))
    return {name: _PURPOSE.sub("", part.strip()) for name, part in zip(parts[1::2], parts[2::2], strict=True)}


def query(name: str, **names: sql.Composable) -> sql.Composed:
    """The query `file.name` with its placeholders filled. Raises KeyError for an unknown query or a missing name."""
    file, _, part = name.partition(".")
    pieces = _PLACEHOLDER.split(read_queries(FOLDER / f"{file}.sql")[part])
    text, used = pieces[0::2], pieces[1::2]
    composed = [sql.SQL(text[0])]
    for placeholder, rest in zip(used, text[1:], strict=True):
        composed += [names[placeholder], sql.SQL(rest)]
    return sql.Composed(composed)
