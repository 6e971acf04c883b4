"""The cursor of every session of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2 import extensions, sql


class Cursor(extensions.cursor):
    """Beside bound values psycopg2 takes every % for a placeholder; one in a name or a literal is none."""

    def execute(self, statement: Any, values: Mapping[str, Any] | Sequence[Any] | None = None) -> None:
        if values is not None and isinstance(statement, sql.Composable):
            statement = _with_own_percent(statement, self)
        super().execute(statement, values)


class Verbatim(sql.Composable):
    """The catalog's own words: a default, a type. No placeholder is in them."""

    def as_string(self, context: object = None) -> str:
        return self._wrapped


def _with_own_percent(statement: sql.Composable, cursor: extensions.cursor) -> str:
    if isinstance(statement, sql.Composed):
        return "".join(_with_own_percent(part, cursor) for part in statement)
    text = statement.as_string(cursor)
    return text if isinstance(statement, sql.SQL | sql.Placeholder) else text.replace("%", "%%")
