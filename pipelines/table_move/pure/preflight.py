"""What could stop the move later, decided from facts before anything is touched."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipelines.table_move.errors import Blocker
from pipelines.table_move.spec import Move

OLDEST_SERVER = 140000  # ctid ranges and client_connection_check_interval


@dataclass(frozen=True, kw_only=True)
class ColumnLimit:
    """A column: its type, the characters it takes (None: any), whether it takes NULL, whether the database fills it."""

    type: str = "text"
    characters: int | None = None
    nullable: bool = True
    filled: bool = False


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A table as the catalog has it. Sizes in bytes; `estimated_rows` is -1 where it was never analysed."""

    oid: int
    schema: str
    name: str
    kind: str
    persistence: str
    filenode: int
    heap_bytes: int
    toast_bytes: int
    estimated_rows: int
    is_owned: bool
    rights: frozenset[str]
    has_relatives: bool
    columns: Mapping[str, ColumnLimit]


@dataclass(frozen=True, kw_only=True)
class Server:
    """The server; `deadlock_timeout` in seconds."""

    version: int
    is_standby: bool
    is_read_only: bool
    encoding: str
    block_size: int
    deadlock_timeout: float
    may_create_schemas: bool
    user: str


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """A foreign key that points to the source."""

    table_oid: int
    schema: str
    table: str
    name: str
    definition: str
    comment: str | None
    validated: bool


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that the preflight looks at. A table that is missing is None."""

    server: Server
    schema: str
    source: Relation | None
    target: Relation | None
    owners: Relation | None
    references: Mapping[str, Relation | None]
    source_key_is_unique: bool
    foreign_keys: tuple[ForeignKey, ...]
    dependents: tuple[str, ...]


def blockers(move: Move, facts: Facts) -> tuple[Blocker, ...]:
    """Everything in the way, in one list, so that it can be put right in one go."""
    return (
        *_server(facts.server),
        *_tables(move, facts),
        *_columns(move, facts),
        *_rights(move, facts),
        *_dependents(move, facts),
    )


def _server(server: Server) -> Iterator[Blocker]:
    if server.version < OLDEST_SERVER:
        yield Blocker(
            code="server_too_old",
            message=f"The server is version {server.version // 10000}; ctid ranges need PostgreSQL 14.",
            remedy="Upgrade the server to PostgreSQL 14 or newer.",
        )
    if server.is_standby or server.is_read_only:
        yield Blocker(
            code="read_only",
            message="The server is a standby." if server.is_standby else "The database is read-only.",
            remedy="Give the URL of the primary, with default_transaction_read_only off.",
        )
    if server.encoding != "UTF8":
        yield Blocker(
            code="encoding",
            message=f"The database is encoded in {server.encoding}; texts are carried byte for byte only in UTF8.",
            remedy="Move the database to encoding UTF8 first (pg_dump, createdb -E UTF8, pg_restore).",
        )


def _tables(move: Move, facts: Facts) -> Iterator[Blocker]:
    found = {
        move.source.table: facts.source,
        move.target.table: facts.target,
        **({move.owner.table: facts.owners} if move.owner is not None else {}),
        **facts.references,
    }
    for name, table in found.items():
        if table is None:
            yield Blocker(
                code="missing_table",
                message=f"There is no table {facts.schema}.{name}.",
                remedy="Name the schema of the application with --schema, or create the table.",
            )
        elif table.kind != "r" or table.has_relatives or table.persistence != "p":
            yield Blocker(
                code="unsupported_table",
                message=f"{facts.schema}.{name} is not a plain, logged, unpartitioned table without children.",
                remedy=f"Make {facts.schema}.{name} a plain logged table (SET LOGGED), or move it by hand.",
            )
    if facts.source is not None and not facts.source_key_is_unique:
        yield Blocker(
            code="source_key_not_unique",
            message=f"{move.source.table}.{move.source.key} has no primary key or unique index of its own.",
            remedy=f"ALTER TABLE {facts.schema}.{move.source.table} ADD PRIMARY KEY ({move.source.key});",
        )


def _columns(move: Move, facts: Facts) -> Iterator[Blocker]:
    needed = [
        (facts.source, (move.source.key, *move.source.columns)),
        (facts.target, (move.target.key, move.target.owner, *move.target.columns)),
        (facts.owners, (move.owner.key, move.owner.label) if move.owner is not None else ()),
        *((facts.references[table.table], (table.key, table.owner)) for table in move.references),
    ]
    for table, columns in needed:
        for column in columns:
            if table is not None and column is not None and column not in table.columns:
                yield Blocker(
                    code="missing_column",
                    message=f"{table.schema}.{table.name} has no column {column}.",
                    remedy="Compare the table with the application's schema; the declaration of the move names it.",
                )
    if facts.target is not None:
        written = {move.target.key, move.target.owner, *move.target.columns}
        for name, column in facts.target.columns.items():
            if name not in written and not column.nullable and not column.filled:
                yield Blocker(
                    code="column_without_value",
                    message=f"{facts.target.name}.{name} is NOT NULL and has no default; the move has no value for it.",
                    remedy=f"ALTER TABLE {facts.schema}.{facts.target.name} ALTER COLUMN {name} SET DEFAULT …;",
                )


def _rights(move: Move, facts: Facts) -> Iterator[Blocker]:
    needed = [
        (facts.source, {"SELECT"}),
        (facts.target, {"SELECT", "INSERT", "UPDATE", "DELETE"}),
        (facts.owners, {"SELECT"}),
        *((table, {"SELECT", "UPDATE"}) for table in facts.references.values()),
    ]
    for table, rights in needed:
        missing = sorted(rights - table.rights) if table is not None else []
        if table is not None and missing:
            yield Blocker(
                code="missing_right",
                message=f"{facts.server.user} may not {', '.join(missing)} on {table.schema}.{table.name}.",
                remedy=f"GRANT {', '.join(missing)} ON {table.schema}.{table.name} TO {facts.server.user};",
            )
    if facts.source is not None and not facts.source.is_owned:
        yield Blocker(
            code="missing_right",
            message=f"{facts.server.user} does not own {facts.schema}.{move.source.table}, which has to be retired.",
            remedy=f"Run as the owner of {facts.schema}.{move.source.table}, or as a member of that role.",
        )
    if not facts.server.may_create_schemas:
        yield Blocker(
            code="missing_right",
            message=f"{facts.server.user} may not create schemas; the journal and the retired table need one each.",
            remedy=f"GRANT CREATE ON DATABASE … TO {facts.server.user};",
        )


def _dependents(move: Move, facts: Facts) -> Iterator[Blocker]:
    for dependent in facts.dependents:
        yield Blocker(
            code="dependent_object",
            message=f"{dependent} depends on {facts.schema}.{move.source.table}; nothing is dropped with CASCADE.",
            remedy=f"Point {dependent} to {facts.schema}.{move.target.table}, or drop it, then run again.",
        )
    known = {(facts.schema, table.table) for table in move.references}
    for key in facts.foreign_keys:
        if (key.schema, key.table) not in known:
            yield Blocker(
                code="unknown_foreign_key",
                message=f"{key.schema}.{key.table} refers to the old table by {key.name}; the move does not follow it.",
                remedy=f"Add {key.table} to the declaration's references, or drop {key.name}.",
            )


def no_owner(*, count: int, examples: list[str], candidates: list[str], command: str) -> Blocker:
    """Rows that no rule gives an owner, with the commands that would.

    command: complete but for the owner, which is one of the `candidates`.
    """
    shown = ", ".join(examples)
    return Blocker(
        code="no_owner",
        message=f"{count} rows are referred to by nobody and there is no default owner, for example: {shown}.",
        remedy="Name one, or a file of owners with --owners: "
        + " or ".join(f"{command} {shlex.quote(candidate)}" for candidate in candidates),
    )
