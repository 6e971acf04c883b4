"""Who holds what we did not get: for the one who reads that a lock was not to be had."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.queries import query

LET_THEM = "Let these sessions end, or give more time with {}, then run the same command again."


def in_the_way(database: Database, oids: Iterable[int]) -> str:
    """`: pid … holds …` for the holders of locks on these tables; where there is none, for every open transaction that
    has written something; empty where there is none of these any more either."""
    own = [session.backend.pid for session in database.sessions if not session.closed]
    with database.reading() as cursor:
        cursor.execute(query("cutover.blockers"), {"oids": list(oids), "own": own})
        found = [
            f"{_who(pid, name, gid)} holds {mode} on {table}{_age(age)}" for pid, name, gid, age, mode, table in cursor
        ]
        if not found:  # a row of another table, which a trigger of the installation wants
            cursor.execute(query("cutover.open_writers"), {"own": own})
            found = [f"{_who(*who)} has written and is open{_age(age)}" for *who, age in cursor]
    return ": " + "; ".join(found) if found else ""


def _who(pid: int | None, name: str | None, gid: str | None) -> str:
    if gid is not None:
        return f"the prepared transaction {gid!r} (COMMIT PREPARED or ROLLBACK PREPARED ends it)"
    if pid is None:
        return "a prepared transaction that has just ended"
    return f"pid {pid} ({name or 'no name'})"


def _age(seconds: int | None) -> str:
    """Unknown of a session that our role may not look at."""
    return "" if seconds is None else f" for {seconds} s"


def in_the_way_of_files(database: Database) -> str:
    """The same for whoever holds locks on any table of the application's."""
    with database.reading() as cursor:
        cursor.execute(query("cutover.tables_of"), {"schemas": [database.schema]})
        oids = [oid for (oid,) in cursor]
    return in_the_way(database, oids)


def in_the_way_of_readers(database: Database) -> str:
    """The same for whoever keeps even readers out of a table of the application's or of the journal's."""
    with database.reading() as cursor:
        cursor.execute(query("cutover.locked_altogether"), {"schemas": [database.schema, "pipelines"]})
        oids = [oid for (oid,) in cursor]
    return in_the_way(database, oids)
