"""A table read from the catalog into the fixed vocabulary, and built from it again. Reads nothing from an archive."""

from __future__ import annotations

from psycopg2 import extensions, sql

from pipelines.table_move.database.queries import query
from pipelines.table_move.pure.description import (
    Column,
    Constraint,
    Description,
    Grant,
    Identity,
    Index,
    create_table,
    finish_table,
)


def unsupported(cursor: extensions.cursor, oid: int) -> list[tuple[str, str, str]]:
    """Whatever of a table the vocabulary has no word for: kind, name, and the statement that takes it away ("": none
    does)."""
    cursor.execute(query("purge.unsupported"), {"oid": oid})
    return cursor.fetchall()


def describe(cursor: extensions.cursor, oid: int, table: str) -> Description:
    """What the catalog says of a table, as far as the vocabulary goes; `unsupported` says the rest."""
    cursor.execute(query("purge.table"), {"oid": oid})
    owner, options, toast_options, comment, has_grants, _ = cursor.fetchone()
    return Description(
        table=table,
        owner=owner,
        options=tuple(options or ()),
        toast_options=tuple(toast_options or ()),
        comment=comment,
        has_grants=has_grants,
        columns=_columns(cursor, oid),
        constraints=tuple(Constraint(**row) for row in _rows(cursor, "purge.constraints", oid, Constraint)),
        indexes=tuple(Index(**row) for row in _rows(cursor, "purge.indexes", oid, Index)),
        grants=_grants(cursor, oid),
    )


def create(cursor: extensions.cursor, description: Description, schema: str) -> None:
    """The empty table, in a schema where there is none of its name. Undo: drop it."""
    for statement in create_table(description, schema):
        cursor.execute(statement)


def finish(cursor: extensions.cursor, description: Description, schema: str, oid: int) -> None:
    """Constraints, indexes, comments, owner and grants of a table that has its rows."""
    cursor.execute(query("purge.grantees"), {"oid": oid})
    grantees = [role for (role,) in cursor]
    for statement in finish_table(description, schema, grantees=grantees):
        cursor.execute(statement)


def _rows(cursor: extensions.cursor, name: str, oid: int, kind: type) -> list[dict[str, object]]:
    cursor.execute(query(name), {"oid": oid})
    return [dict(zip(kind.__dataclass_fields__, row, strict=True)) for row in cursor]


def _grants(cursor: extensions.cursor, oid: int) -> tuple[Grant, ...]:
    cursor.execute(query("purge.grants"), {"oid": oid})
    return tuple(
        Grant(column=column, role=role, right=right, grantable=grantable)
        for column, _, role, right, grantable in cursor
    )


def _columns(cursor: extensions.cursor, oid: int) -> tuple[Column, ...]:
    identities = _identities(cursor, oid)
    cursor.execute(query("purge.columns"), {"oid": oid})
    return tuple(
        Column(
            name=row[0],
            type=row[1],
            not_null=row[2],
            not_null_name=row[3],
            default=row[4],
            identity=_identity(row[5], identities.get(row[0])),
            generated=row[6],
            collation=row[7],
            storage=row[8],
            compression=row[9],
            statistics=row[10],
            options=tuple(row[11] or ()),
            comment=row[12],
        )
        for row in cursor.fetchall()
    )


def _identities(cursor: extensions.cursor, oid: int) -> dict[str, tuple]:
    cursor.execute(query("purge.identities"), {"oid": oid})
    found = {}
    for column, schema, name, *numbers in cursor.fetchall():
        cursor.execute(query("purge.sequence_value", sequence=sql.Identifier(schema, name)))
        found[column] = (name, *numbers, *cursor.fetchone())
    return found


def _identity(kind: str, found: tuple | None) -> Identity | None:
    if not kind or found is None:
        return None
    names = [name for name in Identity.__dataclass_fields__ if name != "always"]
    return Identity(always=kind == "a", **dict(zip(names, found, strict=True)))
