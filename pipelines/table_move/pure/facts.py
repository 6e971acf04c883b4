"""The tables of a move as the preflight finds them, as plain values. `database.catalog` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.table_move.pure.quoting import quoted


@dataclass(frozen=True, kw_only=True)
class ColumnLimit:
    """A column: its type, the characters it takes (None: any), whether it takes NULL, whether the database fills it.

    type: that of the base where it is a domain.
    generated: "stored", "virtual", "identity" (GENERATED ALWAYS), or "" where values can be written.
    """

    type: str = "text"
    characters: int | None = None
    nullable: bool = True
    filled: bool = False
    generated: str = ""


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A table as the catalog has it. Sizes in bytes; `estimated_rows` is -1 where it was never analysed.

    parents, children: quoted names. unique_columns: those with a unique index of their own.
    hides_rows: row security applies to our role.
    """

    oid: int
    schema: str
    name: str
    kind: str
    persistence: str
    filenode: int
    heap_bytes: int
    toast_bytes: int
    estimated_rows: int
    owner: str
    owner_is_superuser: bool
    is_owned: bool
    rights: frozenset[str]
    is_partition: bool
    parents: tuple[str, ...]
    children: tuple[str, ...]
    has_row_security: bool
    policies: int
    hides_rows: bool
    unique_columns: frozenset[str]
    columns: Mapping[str, ColumnLimit]

    @property
    def label(self) -> str:
        """The name for people."""
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """The name for commands."""
        return quoted(self.schema, self.name)


@dataclass(frozen=True, kw_only=True)
class Server:
    """The server and our role on it; `deadlock_timeout` in seconds.

    read_only_by: where default_transaction_read_only was set, in the words of pg_settings.source.
    login: the role that has logged in, which may have become `user`. inherits: `user` has the rights of the roles that
    it is a member of, unless a membership says otherwise.
    role_limit, database_limit: how many sessions they may have at a time, -1 where there is no limit for us.
    """

    version: int
    is_standby: bool
    is_read_only: bool
    read_only_by: str
    encoding: str
    block_size: int
    deadlock_timeout: float
    database: str
    may_create_schemas: bool
    may_use_temporary_tables: bool
    user: str
    login: str = ""
    inherits: bool = True
    role_limit: int = -1
    database_limit: int = -1


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """A foreign key from `columns` to `key_columns` of the table asked about. `is_owned`: its table is ours."""

    table_oid: int
    schema: str
    table: str
    name: str
    definition: str
    comment: str | None
    validated: bool
    columns: tuple[str, ...]
    key_columns: tuple[str, ...]
    owner: str
    owner_is_superuser: bool
    is_owned: bool

    @property
    def cascades(self) -> bool:
        """Whether rows of its table go with the row that they refer to."""
        return " ON DELETE CASCADE" in self.definition


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The tables of a move and the server. A table that is missing is None, and so are the rights on a schema.

    is_purged: the source has been dropped for good, and is not missed.
    """

    server: Server
    schema: str
    schema_rights: frozenset[str] | None
    source: Relation | None
    target: Relation | None
    owners: Relation | None
    references: Mapping[str, Relation | None]
    foreign_keys: tuple[ForeignKey, ...]
    is_purged: bool = False

    @property
    def tables(self) -> tuple[Relation, ...]:
        """The tables that are there."""
        return tuple(filter(None, (self.source, self.target, self.owners, *self.references.values())))

    @property
    def written(self) -> tuple[Relation, ...]:
        """Target and referencing tables that are there."""
        return tuple(filter(None, (self.target, *self.references.values())))

    @property
    def is_retired(self) -> bool:
        """The source has left the application's schema: what could stop that no longer can."""
        return self.is_purged or (self.source is not None and self.source.schema != self.schema)
