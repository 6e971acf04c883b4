"""Row versions as a clock: what a transaction wrote carries its number, so that what has moved since a moment is found
by looking at numbers instead of texts. Deleted rows leave none; they are found by counting."""

from __future__ import annotations

from psycopg2 import extensions

from pipelines.table_move.database.queries import query


def now(cursor: extensions.cursor) -> int:
    """The number of the oldest transaction that may still write. Ask before the look, not after it."""
    cursor.execute(query("versions.now"))
    return cursor.fetchone()[0]
