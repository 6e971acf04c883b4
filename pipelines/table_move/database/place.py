"""Where a journal is: cluster, database, and the journal's own table. After a dump and restore, in a clone or on
another server, one of them differs: numbers of tables and of transactions are others there."""

from __future__ import annotations

import hashlib

from psycopg2 import extensions

from pipelines.table_move.database.queries import query

UNKNOWN = "?"  # a cluster that our role may not ask about


def here(cursor: extensions.cursor) -> str:
    """This place, as the journal keeps it: three numbers with slashes between."""
    return "/".join(_numbers(cursor))


def database_id(cursor: extensions.cursor) -> str:
    """Eight hexadecimal digits that tell this database from others of its name, on this and on other clusters."""
    system, database, _ = _numbers(cursor)
    return hashlib.sha256(f"{system}/{database}".encode()).hexdigest()[:8]


def _numbers(cursor: extensions.cursor) -> tuple[str, str, str]:
    cursor.execute(query("place.may_know_the_system"))
    system = UNKNOWN
    if cursor.fetchone()[0]:
        cursor.execute(query("place.system"))
        system = cursor.fetchone()[0]
    cursor.execute(query("place.database_and_journal"))
    return (system, *cursor.fetchone())


def is_here(cursor: extensions.cursor, place: str) -> bool:
    """Whether a journal that was written at this place still is there."""
    pairs = zip(place.split("/"), here(cursor).split("/"), strict=True)
    return all(before == now or UNKNOWN in (before, now) for before, now in pairs)
