"""The declaration of a move: which table goes where. Frozen values that check themselves; no database in sight."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class Source:
    """The table to be retired. `columns` are read for the mapping; `not_carried` have no place in the target.

    verdicts: a file of named SQL expressions over a source row `s`, true or false; each is a column that the suite of
        the source can ask about. NULL counts as true.
    """

    table: str
    key: str
    columns: tuple[str, ...]
    not_carried: tuple[str, ...] = ()
    verdicts: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """The table that replaces it: `key` is a uuid, `columns` are written.

    owner: the column of the owning tenant; None for a table without tenants.
    carried: (target column, source column) pairs whose values must be equal byte for byte; the gate checks them.
    back: (target column, source column) pairs: where an edit of the target goes when the move is taken back.
    """

    table: str
    key: str
    owner: str | None
    columns: tuple[str, ...]
    carried: tuple[tuple[str, str], ...] = ()
    back: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The table of the tenants: `key` is a uuid, `label` what people call them."""

    table: str
    key: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Referencing:
    """A table that refers to the source by value. Of `columns`, those that exist in the database are followed.

    owner: the column of the tenant that owns the row; None in a move without tenants.
    """

    table: str
    key: str
    owner: str | None
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Move:
    """One table move.

    owner: the table of the tenants; None where rows belong to nobody in particular.
    namespace: the RFC 9562 namespace of the ids that the move makes.
    transform: "package.module:function", a pure function from a frame with the column `source_id` and the source's
        `columns` (all Arrow strings) to a frame with the target's `columns`, same index. Named, not imported, so that
        a plan needs no pandas. What it makes itself it writes as PostgreSQL would: fingerprints compare `column::text`.
    suites: the folder with the expectation suites, one JSON file per subject.
    """

    name: str
    source: Source
    target: Target
    owner: Owner | None
    references: tuple[Referencing, ...]
    namespace: UUID
    transform: str
    suites: Path

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", self.name):
            raise ValueError(f"a move's name is lower case letters, digits and _, at most 31: {self.name!r}")
        if not re.fullmatch(r"[\w.]+:\w+", self.transform):
            raise ValueError(f"transform is written package.module:function, not {self.transform!r}")
        _distinct("source columns", (self.source.key, *self.source.columns))
        _distinct("not_carried", (self.source.key, *self.source.not_carried))
        _distinct("target columns", (self.target.key, self.target.owner or "owner", *self.target.columns))
        for target, source in (*self.target.carried, *self.target.back):
            if target not in self.target.columns or source not in self.source.columns:
                raise ValueError(f"carried or back names a column that is not moved: {target}, {source}")
        _distinct("columns that take edits back", (source for _, source in self.target.back))
        for table in self.references:
            _distinct(f"reference columns of {table.table}", (table.key, table.owner or "owner", *table.columns))
        tenants = {self.owner is None, self.target.owner is None, *(table.owner is None for table in self.references)}
        if len(tenants) > 1:
            raise ValueError("either the move, its target and its references all have an owner, or none has")

    @property
    def package(self) -> str:
        """The package of the move, which `python -m` runs."""
        return self.transform.partition(":")[0].rpartition(".")[0]

    def key_in(self, schema: str) -> str:
        """The journal's name of this move: its name, and the schema where that is not `public`."""
        return self.name if schema == "public" else f"{self.name}@{schema}"


def _distinct(what: str, names: Iterable[str]) -> None:
    seen = list(names)
    if len(set(seen)) != len(seen):
        raise ValueError(f"{what} name one column twice: {', '.join(seen)}")
    if not all(seen):
        raise ValueError(f"{what} contain an empty name")
