"""A table in a fixed vocabulary, and the statements that build it again. A table with something that the vocabulary has
no word for is not purged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.table_move.pure.quoting import literal, quoted

_STORAGE = {"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
_COMPRESSION = {"p": "pglz", "l": "lz4"}


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The sequence behind an identity column, and where it stands."""

    always: bool
    name: str
    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int
    cycles: bool
    value: int
    is_called: bool


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column. Types, defaults and collations in the catalog's own words; None where there is nothing to say."""

    name: str
    type: str
    not_null: bool = False
    not_null_name: str | None = None
    default: str | None = None
    generated: str = ""
    identity: Identity | None = None
    collation: str | None = None
    storage: str | None = None
    compression: str = ""
    statistics: int | None = None
    options: tuple[str, ...] = ()
    comment: str | None = None


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A constraint, but for NOT NULL, with the comment of its index."""

    name: str
    definition: str
    comment: str | None
    index_comment: str | None


@dataclass(frozen=True, kw_only=True)
class Index:
    """An index that no constraint made; `definition` from USING on."""

    name: str
    is_unique: bool
    definition: str
    comment: str | None


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One right of one role, on the table or on a column. `role` is quoted as the catalog writes it, or PUBLIC."""

    column: str | None
    role: str
    right: str
    grantable: bool


@dataclass(frozen=True, kw_only=True)
class Description:
    """A table without its schema and its rows. owner: quoted. has_grants: whether any were ever given or taken."""

    table: str
    owner: str
    options: tuple[str, ...]
    toast_options: tuple[str, ...]
    comment: str | None
    has_grants: bool
    columns: tuple[Column, ...]
    constraints: tuple[Constraint, ...]
    indexes: tuple[Index, ...]
    grants: tuple[Grant, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Description:
        """The description that the journal keeps. Raises TypeError for a word that is none of the vocabulary."""
        return cls(
            **{
                **value,
                "options": tuple(value["options"]),
                "toast_options": tuple(value["toast_options"]),
                "columns": tuple(_column(column) for column in value["columns"]),
                "constraints": tuple(Constraint(**one) for one in value["constraints"]),
                "indexes": tuple(Index(**one) for one in value["indexes"]),
                "grants": tuple(Grant(**one) for one in value["grants"]),
            }
        )

    @property
    def written_columns(self) -> tuple[str, ...]:
        """The columns that have values of their own."""
        return tuple(column.name for column in self.columns if not column.generated)


def _column(value: Mapping[str, Any]) -> Column:
    identity = Identity(**value["identity"]) if value["identity"] is not None else None
    return Column(**{**value, "options": tuple(value["options"]), "identity": identity})


def create_table(description: Description, schema: str) -> Iterator[str]:
    """The empty table, without constraints and indexes, which are cheaper to make on its rows."""
    table = quoted(schema, description.table)
    columns = ", ".join(_defined(column, schema) for column in description.columns)
    yield f"CREATE TABLE {table} ({columns}){_with(description.options)}"
    toast = tuple(f"toast.{option}" for option in description.toast_options)
    if toast:
        yield f"ALTER TABLE {table} SET ({_options(toast)})"
    for column in description.columns:
        change = f"ALTER TABLE {table} ALTER COLUMN {quoted(column.name)} SET"
        if column.storage is not None:
            yield f"{change} STORAGE {_STORAGE[column.storage]}"
        if column.statistics is not None:
            yield f"{change} STATISTICS {int(column.statistics)}"
        if column.options:
            yield f"{change} ({_options(column.options)})"


def finish_table(description: Description, schema: str, *, grantees: Sequence[str]) -> Iterator[str]:
    """Constraints, indexes, comments, owner, grants, sequences. grantees: who has rights on the new table now."""
    table = quoted(schema, description.table)
    for one in description.constraints:
        yield f"ALTER TABLE {table} ADD CONSTRAINT {quoted(one.name)} {one.definition}"
    for index in description.indexes:
        yield f"CREATE {'UNIQUE ' if index.is_unique else ''}INDEX {quoted(index.name)} ON {table} {index.definition}"
    for what, comment in _comments(description, schema, table):
        if comment is not None:
            yield f"COMMENT ON {what} IS {literal(comment)}"
    yield f"ALTER TABLE {table} OWNER TO {description.owner}"
    if description.has_grants or any(role != description.owner for role in grantees):
        for role in grantees:
            yield f"REVOKE ALL ON {table} FROM {role}"
        if not description.has_grants:
            yield f"GRANT ALL ON {table} TO {description.owner}"
    for grant in description.grants:
        column = f" ({quoted(grant.column)})" if grant.column is not None else ""
        option = " WITH GRANT OPTION" if grant.grantable else ""
        yield f"GRANT {grant.right}{column} ON {table} TO {grant.role}{option}"
    for column in description.columns:
        if column.identity is not None:
            sequence = literal(quoted(schema, column.identity.name))
            called = "true" if column.identity.is_called else "false"
            yield f"SELECT pg_catalog.setval({sequence}, {int(column.identity.value)}, {called})"


def _comments(description: Description, schema: str, table: str) -> Iterator[tuple[str, str | None]]:
    yield f"TABLE {table}", description.comment
    for column in description.columns:
        yield f"COLUMN {table}.{quoted(column.name)}", column.comment
    for one in description.constraints:
        yield f"CONSTRAINT {quoted(one.name)} ON {table}", one.comment
        yield f"INDEX {quoted(schema, one.name)}", one.index_comment
    for index in description.indexes:
        yield f"INDEX {quoted(schema, index.name)}", index.comment


def _defined(column: Column, schema: str) -> str:
    parts = [quoted(column.name), column.type]
    if column.compression:
        parts.append(f"COMPRESSION {_COMPRESSION[column.compression]}")
    if column.collation is not None:
        parts.append(f"COLLATE {column.collation}")
    if column.not_null_name is not None:
        parts.append(f"CONSTRAINT {quoted(column.not_null_name)}")
    if column.not_null:
        parts.append("NOT NULL")
    if column.generated:
        kind = "STORED" if column.generated == "s" else "VIRTUAL"
        parts.append(f"GENERATED ALWAYS AS ({column.default}) {kind}")
    elif column.identity is not None:
        parts.append(_identity(column.identity, schema))
    elif column.default is not None:
        parts.append(f"DEFAULT {column.default}")
    return " ".join(parts)


def _identity(one: Identity, schema: str) -> str:
    when, cycle = ("ALWAYS" if one.always else "BY DEFAULT"), ("CYCLE" if one.cycles else "NO CYCLE")
    return (
        f"GENERATED {when} AS IDENTITY (SEQUENCE NAME {quoted(schema, one.name)} START {one.start} "
        f"INCREMENT {one.increment} MINVALUE {one.minimum} MAXVALUE {one.maximum} CACHE {one.cache} {cycle})"
    )


def _with(options: Sequence[str]) -> str:
    return f" WITH ({_options(options)})" if options else ""


def _options(options: Sequence[str]) -> str:
    """`fillfactor=70` as the catalog has it, as a statement writes it."""
    pairs = (option.partition("=") for option in options)
    return ", ".join(f"{_option_name(name)} = {literal(value)}" for name, _, value in pairs)


def _option_name(name: str) -> str:
    toast, dot, option = name.rpartition(".")
    return f"{toast}{dot}{quoted(option)}"
