"""What stands around the tables of a move, as plain values. `database.surroundings` reads them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Dependent:
    """An object that would break, or silently change its meaning. `name` and `table`, the one it is on, are quoted."""

    kind: str
    name: str
    table: str


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A prepared transaction that holds a lock on a table (quoted)."""

    gid: str
    table: str


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """A table whose bare name means another relation (quoted) under the role's own search_path."""

    name: str
    schema: str
    relation: str


@dataclass(frozen=True, kw_only=True)
class InvalidIndex:
    """An index that no query uses. Both names are quoted."""

    name: str
    table: str


@dataclass(frozen=True, kw_only=True)
class Collation:
    """The versions of the database's collation: the one its indexes were built with, and the library's."""

    recorded: str
    actual: str


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """A trigger of the installation that fires: BEFORE or AFTER these events, on UPDATE of `columns` (none: of any)."""

    table_oid: int
    name: str
    function: str
    timing: str
    events: tuple[str, ...]
    per_row: bool
    columns: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Undeclared:
    """A column with keys of the source in `rows` of the `sampled` rows."""

    table: str
    column: str
    type: str
    sampled: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What stands around the tables: what is in the way of the move, and what notices it.

    replication: publications of target and referencing tables, subscriptions to any; `table` may be a list of them.

    sequences: of the target's defaults, those that we may not use. disk_free: bytes, None where it cannot be told.
    unique_indexes: of the target, beyond its key. event_triggers: name and event.
    readers: roles that may read the target but not the source. Names are quoted, except those of roles.
    """

    dependents: tuple[Dependent, ...] = ()
    replication: tuple[Dependent, ...] = ()
    rules: tuple[Dependent, ...] = ()
    prepared: tuple[Prepared, ...] = ()
    shadows: tuple[Shadow, ...] = ()
    invalid_indexes: tuple[InvalidIndex, ...] = ()
    collation: Collation | None = None
    disk_free: int | None = None
    sequences: tuple[str, ...] = ()
    unique_indexes: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    event_triggers: tuple[tuple[str, str], ...] = ()
    readers: tuple[str, ...] = ()
