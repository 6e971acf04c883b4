"""What the database says about the tables of a move. Reads only; `pure.preflight` decides what it means."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2 import extensions

from pipelines.table_move.database.names import Names
from pipelines.table_move.database.queries import query
from pipelines.table_move.pure.preflight import ColumnLimit, Facts, ForeignKey, Relation, Server
from pipelines.table_move.spec import Move, Referencing


@dataclass(frozen=True, kw_only=True)
class Located:
    """A move found in a database: its quoted names, and the facts they were found by."""

    names: Names
    facts: Facts

    @property
    def limits(self) -> dict[str, ColumnLimit]:
        """What the target's columns accept."""
        columns = self.facts.target.columns
        return {name: columns[name] for name in self.names.move.target.columns}


def locate(cursor: extensions.cursor, move: Move, schema: str, *, source_schema: str | None = None) -> Located:
    """Look every table of the move up. Tables that are missing are None in the facts."""
    source = relation(cursor, source_schema or schema, move.source.table)
    tables = {table.table: relation(cursor, schema, table.table) for table in move.references}
    facts = Facts(
        server=_server(cursor),
        schema=schema,
        source=source,
        target=relation(cursor, schema, move.target.table),
        owners=relation(cursor, schema, move.owner.table) if move.owner is not None else None,
        references=tables,
        source_key_is_unique=source is not None and _is_unique(cursor, source.oid, move.source.key),
        foreign_keys=_foreign_keys(cursor, source),
        dependents=_dependents(cursor, source),
    )
    references = _existing(move.references, tables)
    names = Names(
        move=move,
        schema=schema,
        source_schema=source_schema or schema,
        references=references,
        column_types=_types(references, tables),
    )
    return Located(names=names, facts=facts)


def relation(cursor: extensions.cursor, schema: str, table: str) -> Relation | None:
    cursor.execute(query("catalog.relation"), {"schema": schema, "table": table})
    row = cursor.fetchone()
    if row is None:
        return None
    cursor.execute(query("catalog.columns"), {"oid": row[0]})
    columns = {
        name: ColumnLimit(type=kind, characters=limit, nullable=nullable, filled=filled)
        for name, kind, limit, nullable, filled in cursor
    }
    return Relation(
        oid=row[0],
        schema=schema,
        name=table,
        kind=row[1],
        persistence=row[2],
        filenode=row[3],
        heap_bytes=row[4],
        toast_bytes=row[5],
        estimated_rows=row[6],
        is_owned=row[7],
        rights=frozenset(
            right for right, held in zip(("SELECT", "INSERT", "UPDATE", "DELETE"), row[8:12], strict=True) if held
        ),
        has_relatives=row[12],
        columns=columns,
    )


def _server(cursor: extensions.cursor) -> Server:
    cursor.execute(query("catalog.server"))
    version, standby, read_only, encoding, block_size, deadlock_timeout, may_create, user = cursor.fetchone()
    return Server(
        version=version,
        is_standby=standby,
        is_read_only=read_only,
        encoding=encoding,
        block_size=block_size,
        deadlock_timeout=deadlock_timeout,
        may_create_schemas=may_create,
        user=user,
    )


def _is_unique(cursor: extensions.cursor, oid: int, column: str) -> bool:
    cursor.execute(query("catalog.is_unique"), {"oid": oid, "column": column})
    return bool(cursor.fetchone()[0])


def _foreign_keys(cursor: extensions.cursor, source: Relation | None) -> tuple[ForeignKey, ...]:
    if source is None:
        return ()
    cursor.execute(query("catalog.foreign_keys"), {"oid": source.oid})
    return tuple(
        ForeignKey(table_oid=oid, schema=schema, table=table, name=name, definition=text, comment=comment, validated=ok)
        for oid, schema, table, name, text, comment, ok in cursor
    )


def _dependents(cursor: extensions.cursor, source: Relation | None) -> tuple[str, ...]:
    if source is None:
        return ()
    cursor.execute(query("catalog.dependents"), {"oid": source.oid})
    return tuple(f"{kind} {name}" for kind, name in cursor)


def _types(references: tuple[Referencing, ...], found: dict[str, Relation | None]) -> dict[tuple[str, str], str]:
    return {
        (table.table, column): found[table.table].columns[column].type
        for table in references
        for column in table.columns
    }


def _existing(declared: tuple[Referencing, ...], found: dict[str, Relation | None]) -> tuple[Referencing, ...]:
    """The declared referencing tables with the columns that the database has; without any, the table is left out."""
    kept = []
    for table in declared:
        there = found[table.table]
        columns = tuple(column for column in table.columns if there is not None and column in there.columns)
        if columns:
            kept.append(Referencing(table=table.table, key=table.key, owner=table.owner, columns=columns))
    return tuple(kept)
