"""The file of owners that a person writes: `source_id,OWNER` in CSV, one line per row of the old table."""

from __future__ import annotations

import csv
from io import StringIO
from uuid import UUID

from pipelines.table_move.errors import UsageProblem


def parse_owners(text: str, *, owner_column: str) -> dict[str, str]:
    """Owner (canonical UUID) by source id, byte for byte as written. Raises UsageProblem, naming the line."""
    lines = csv.reader(StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    header = ["source_id", owner_column]
    found: dict[str, str] = {}
    if "\0" in text:
        raise _unreadable(f"line {text[: text.index(chr(0))].count(chr(10)) + 1} has a NUL character")
    try:
        if next(lines, None) != header:
            raise _unreadable(f"its first line has to be {','.join(header)}")
        for line in lines:
            if not line:
                continue
            if len(line) != len(header):
                raise _unreadable(f"line {lines.line_num} has {len(line)} values instead of {len(header)}")
            source_id, owner = line[0], _uuid(line[1], lines.line_num)
            if found.setdefault(source_id, owner) != owner:
                raise _unreadable(f"line {lines.line_num} names a second owner for {source_id!r}")
    except csv.Error as problem:
        raise _unreadable(f"line {lines.line_num}: {problem}") from problem
    return found


def _uuid(text: str, line: int) -> str:
    try:
        return str(UUID(text.strip()))
    except ValueError:
        raise _unreadable(f"line {line}: {text!r} is no UUID") from None


def _unreadable(what: str) -> UsageProblem:
    return UsageProblem(
        f"The file of owners cannot be used: {what}.",
        untouched="Nothing was written.",
        next_step="It is CSV in UTF-8, one line per row of the old table, with its id and the id of its owner.",
    )
