"""What the database says about the tables of a move. Reads only; `pure.preflight` decides what it means."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2 import extensions

from pipelines.table_move.database.definition import read_definition
from pipelines.table_move.database.names import Names
from pipelines.table_move.database.queries import query
from pipelines.table_move.pure.definition import Definition
from pipelines.table_move.pure.facts import ColumnLimit, Facts, ForeignKey, Relation, Server
from pipelines.table_move.records import MoveRow
from pipelines.table_move.spec import Move, Referencing
from pipelines.table_move.status import Milestone


@dataclass(frozen=True, kw_only=True)
class Located:
    """A move found in a database: its quoted names, the facts they were found by, and what its tables are."""

    names: Names
    facts: Facts
    definition: Definition

    @property
    def limits(self) -> dict[str, ColumnLimit]:
        """What the target's columns accept."""
        columns = self.facts.target.columns
        return {name: columns[name] for name in self.names.move.target.columns}


def locate(cursor: extensions.cursor, move: Move, schema: str, row: MoveRow | None) -> Located:
    """Look every table of the move up. Tables that are missing are None in the facts.

    row: the move's line in the journal, which knows where the source is; None where it has not begun.
    """
    source_schema = (row.retired_schema if row is not None else None) or schema
    is_purged = row is not None and row.milestone is Milestone.PURGED
    source = None if is_purged else relation(cursor, source_schema, move.source.table)
    tables = {table.table: relation(cursor, schema, table.table) for table in move.references}
    facts = Facts(
        server=_server(cursor),
        schema=schema,
        schema_rights=_schema_rights(cursor, schema),
        source=source,
        target=relation(cursor, schema, move.target.table),
        owners=relation(cursor, schema, move.owner.table) if move.owner is not None else None,
        references=tables,
        foreign_keys=foreign_keys_to(cursor, source),
        is_purged=is_purged,
    )
    references = _existing(move.references, tables)
    names = Names(
        move=move,
        schema=schema,
        source_schema=source_schema,
        references=references,
        column_types=_types(references, tables),
        is_purged=is_purged,
    )
    return Located(names=names, facts=facts, definition=read_definition(cursor, facts.tables, source))


def relation(cursor: extensions.cursor, schema: str, table: str) -> Relation | None:
    cursor.execute(query("catalog.relation"), {"schema": schema, "table": table})
    row = cursor.fetchone()
    if row is None:
        return None
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
        owner=row[7],
        owner_is_superuser=row[8],
        is_owned=row[9],
        is_partition=row[10],
        parents=tuple(row[11]),
        children=tuple(row[12]),
        has_row_security=row[13],
        policies=row[14],
        hides_rows=row[15],
        rights=_names(cursor, "catalog.rights", row[0]),
        unique_columns=_names(cursor, "catalog.unique_columns", row[0]),
        columns=_columns(cursor, row[0]),
    )


def retired_schemas(cursor: extensions.cursor, table: str) -> dict[str, bool]:
    """The schemas of retired tables that are there, and whether they hold a table of this name."""
    cursor.execute(query("catalog.retired_schemas"), {"table": table})
    return dict(cursor.fetchall())


def _names(cursor: extensions.cursor, name: str, oid: int) -> frozenset[str]:
    cursor.execute(query(name), {"oid": oid})
    return frozenset(name for (name,) in cursor)


def _columns(cursor: extensions.cursor, oid: int) -> dict[str, ColumnLimit]:
    cursor.execute(query("catalog.columns"), {"oid": oid})
    return {
        name: ColumnLimit(type=kind, characters=limit, nullable=nullable, filled=filled, generated=generated)
        for name, kind, limit, nullable, filled, generated in cursor
    }


def _server(cursor: extensions.cursor) -> Server:
    cursor.execute(query("catalog.server"))
    row = cursor.fetchone()
    return Server(
        version=row[0],
        is_standby=row[1],
        is_read_only=row[2],
        read_only_by=row[3],
        encoding=row[4],
        block_size=row[5],
        deadlock_timeout=row[6],
        database=row[7],
        may_create_schemas=row[8],
        may_use_temporary_tables=row[9],
        user=row[10],
        login=row[11],
        inherits=row[12],
        role_limit=row[13],
        database_limit=row[14],
    )


def _schema_rights(cursor: extensions.cursor, schema: str) -> frozenset[str] | None:
    cursor.execute(query("catalog.schema_rights"), {"schema": schema})
    row = cursor.fetchone()
    if row is None:
        return None
    return frozenset(right for right, held in zip(("USAGE", "CREATE"), row, strict=True) if held)


def foreign_keys_to(cursor: extensions.cursor, table: Relation | None) -> tuple[ForeignKey, ...]:
    """The foreign keys of any table that point to this one."""
    if table is None:
        return ()
    cursor.execute(query("catalog.foreign_keys"), {"oid": table.oid})
    return tuple(
        ForeignKey(
            table_oid=row[0],
            schema=row[1],
            table=row[2],
            name=row[3],
            definition=row[4],
            comment=row[5],
            validated=row[6],
            columns=tuple(row[7]),
            key_columns=tuple(row[8]),
            owner=row[9],
            owner_is_superuser=row[10],
            is_owned=row[11],
        )
        for row in cursor
    )


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
