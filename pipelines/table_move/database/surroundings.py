"""What the database and its machine say about what stands around the tables. Reads only; `pure` decides."""

from __future__ import annotations

import os
from collections.abc import Sequence

from psycopg2 import extensions

from pipelines.table_move.database.catalog import Located
from pipelines.table_move.database.queries import query
from pipelines.table_move.pure.facts import Facts, Relation
from pipelines.table_move.pure.surroundings import (
    Collation,
    Dependent,
    InvalidIndex,
    Prepared,
    Shadow,
    Surroundings,
    Trigger,
)

SCHEMA_PUBLICATIONS_SINCE = COLLATION_VERSIONS_SINCE = 150000


def look_around(cursor: extensions.cursor, located: Located, *, fresh: bool) -> Surroundings:
    """Within a transaction: the search_path is another one for a moment.

    fresh: nothing is moved yet, so the disk has to have room for everything.
    """
    facts, move = located.facts, located.names.move
    oids = {"oids": [table.oid for table in facts.tables]}
    written = {"oids": [table.oid for table in facts.written]}
    return Surroundings(
        dependents=_dependents(cursor, facts),
        replication=_replication(cursor, facts),
        rules=tuple(Dependent(kind=k, name=n, table=t) for k, n, t in _rows(cursor, "surroundings.rules", written)),
        prepared=tuple(Prepared(gid=gid, table=table) for gid, table in _rows(cursor, "surroundings.prepared", oids)),
        shadows=_shadows(cursor, facts),
        invalid_indexes=tuple(
            InvalidIndex(name=n, table=t) for n, t in _rows(cursor, "surroundings.invalid_indexes", oids)
        ),
        collation=_collation(cursor, facts),
        disk_free=_disk_free(cursor, facts.target) if fresh else None,
        sequences=_of(cursor, "surroundings.sequences", facts.target),
        unique_indexes=_of(cursor, "surroundings.unique_indexes", facts.target, key=move.target.key),
        functions=tuple(name for (name,) in _rows(cursor, "surroundings.functions", {"table": move.source.table})),
        triggers=tuple(map(_trigger, _rows(cursor, "surroundings.triggers", oids))),
        event_triggers=tuple(_rows(cursor, "surroundings.event_triggers")),
        readers=_readers(cursor, facts),
    )


def _rows(cursor: extensions.cursor, name: str, values: dict[str, object] | None = None) -> list[tuple]:
    cursor.execute(query(name), values)
    return cursor.fetchall()


def _of(cursor: extensions.cursor, name: str, table: Relation | None, **values: object) -> tuple[str, ...]:
    """A list of names that belong to a table, if it is there."""
    if table is None:
        return ()
    return tuple(found for (found,) in _rows(cursor, name, {"oid": table.oid, **values}))


def _dependents(cursor: extensions.cursor, facts: Facts) -> tuple[Dependent, ...]:
    if facts.source is None:
        return ()
    source = facts.source.oid
    queries = ["surroundings.dependents", "surroundings.policies"]
    found = [row for name in queries for row in _rows(cursor, name, {"oid": source})]
    found += [*_publications(cursor, facts, [source]), *_rows(cursor, "surroundings.rules", {"oids": [source]})]
    return tuple(Dependent(kind=kind, name=name, table=table) for kind, name, table in found)


def _replication(cursor: extensions.cursor, facts: Facts) -> tuple[Dependent, ...]:
    """Publications of what the move writes, and subscriptions to any table."""
    written = [table.oid for table in facts.written]
    all_of_them = {"oids": written if facts.source is None else [facts.source.oid, *written]}
    found = [*_publications(cursor, facts, written), *_rows(cursor, "surroundings.subscriptions", all_of_them)]
    return tuple(Dependent(kind=kind, name=name, table=tables) for kind, name, tables in found)


def _publications(cursor: extensions.cursor, facts: Facts, oids: list[int]) -> list[tuple[str, str, str]]:
    found = _rows(cursor, "surroundings.publications", {"oids": oids})
    if facts.server.version >= SCHEMA_PUBLICATIONS_SINCE:
        found += _rows(cursor, "surroundings.publications_of_the_schema", {"oids": oids})
    return found


def _shadows(cursor: extensions.cursor, facts: Facts) -> tuple[Shadow, ...]:
    """The tables whose bare name means something else to our role, as it is without our pinned search_path."""
    ((pinned, own),) = _rows(cursor, "surroundings.search_path")
    _use_path(cursor, own)
    meant = [(table, _rows(cursor, "surroundings.resolve", {"name": table.name})[0][0]) for table in facts.tables]
    _use_path(cursor, pinned)
    return tuple(
        Shadow(name=table.name, schema=schema, relation=full_name)
        for table, oid in meant
        if table.schema == facts.schema and oid is not None and oid != table.oid
        for schema, full_name in _rows(cursor, "surroundings.full_name", {"oid": oid})
    )


def _use_path(cursor: extensions.cursor, path: str) -> None:
    cursor.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))


def _collation(cursor: extensions.cursor, facts: Facts) -> Collation | None:
    if facts.server.version < COLLATION_VERSIONS_SINCE:
        return None
    found = _rows(cursor, "surroundings.collation")
    return Collation(recorded=found[0][0], actual=found[0][1]) if found else None


def _disk_free(cursor: extensions.cursor, table: Relation | None) -> int | None:
    """Free bytes where a table's files are, if the server is on this machine and says where it keeps them."""
    local = cursor.connection.info.host.startswith("/")
    folders: Sequence[str] = _of(cursor, "surroundings.data_directory", table) if local else ()
    if not folders or not os.path.isdir(folders[0]):
        return None
    disk = os.statvfs(folders[0])
    return disk.f_bavail * disk.f_frsize


def _readers(cursor: extensions.cursor, facts: Facts) -> tuple[str, ...]:
    if facts.source is None or facts.target is None:
        return ()
    values = {"source": facts.source.oid, "target": facts.target.oid}
    return tuple(name for (name,) in _rows(cursor, "surroundings.readers", values))


def _trigger(row: tuple) -> Trigger:
    oid, name, function, timing, events, per_row, columns = row
    return Trigger(
        table_oid=oid,
        name=name,
        function=function,
        timing=timing,
        events=tuple(events),
        per_row=per_row,
        columns=frozenset(columns),
    )
