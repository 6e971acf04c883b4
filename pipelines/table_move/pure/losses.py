"""What has no place in the old world: decided from what was found, row by row. A loss is listed, never silent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple


class LossKind(StrEnum):
    """Why something has no place. The rows themselves stay where they are, but for deletions, which come back."""

    CREATED_SINCE = "created_since"
    PERHAPS_CREATED_SINCE = "perhaps_created_since"
    OTHER_COLUMNS = "other_columns"
    EDITED = "edited"
    EDITED_FOUND = "edited_found"
    OTHER_OWNER = "other_owner"
    NEW_COLUMNS = "new_columns"
    DOES_NOT_FIT = "does_not_fit"
    DELETION_COMES_BACK = "deletion_comes_back"
    REFERENCE_DOES_NOT_FIT = "reference_does_not_fit"
    REFERENCE_COLUMN_GONE = "reference_column_gone"
    REFERRED_TO = "referred_to"
    KEPT = "kept"


FOUND_ANEW = (LossKind.REFERRED_TO, LossKind.KEPT)
"""What still stands at the end: the last attempt finds it, and what an earlier one found may have gone since."""

SENTENCES: dict[LossKind, str] = {
    LossKind.CREATED_SINCE: "rows of the new table that were created or changed since the switch and are in no old row",
    LossKind.PERHAPS_CREATED_SINCE: "rows of the new table that are in no old row; in a database that was "
    "restored since the switch, nobody can tell whether they are newer than it",
    LossKind.OTHER_COLUMNS: "columns of the new table that are other ones than at the switch (made anew, or with "
    "traded names): what they hold goes into no old row",
    LossKind.EDITED: "edited rows whose edit goes into no old row (copies of other owners, edits before the switch)",
    LossKind.EDITED_FOUND: "edited rows that stood in the new table before the move",
    LossKind.OTHER_OWNER: "rows that were given to another owner",
    LossKind.NEW_COLUMNS: "rows with values in columns that the old table does not have",
    LossKind.DOES_NOT_FIT: "edited rows whose new value does not fit the old column",
    LossKind.DELETION_COMES_BACK: "deleted rows that come back, because something else needs the old row",
    LossKind.REFERENCE_DOES_NOT_FIT: "references whose old value does not fit their column, and that stay as they are",
    LossKind.REFERENCE_COLUMN_GONE: "columns of references that are not there under the name that the move knows; one "
    "that was renamed would keep new ids, which lead to nothing then: rename it back until the rollback is done",
    LossKind.REFERRED_TO: "rows that stay, because a foreign key refers to them",
    LossKind.KEPT: "rows that stay, because a trigger keeps them or the database refuses to delete them",
}


class Changed(NamedTuple):
    """A row of the map whose target row is not as it was loaded or found. `filled`: columns that the move does not
    write have values."""

    source_id: str
    target_id: str
    is_primary: bool
    loaded: bool
    edited: bool
    other_owner: bool
    filled: bool

    @property
    def goes_back(self) -> bool:
        """Whether its edit belongs into the old row: that of the primary owner, in a row that the move inserted."""
        return self.edited and self.loaded and self.is_primary


class Deleted(NamedTuple):
    """A row of the map whose target row is gone, although its owner is there. `is_ours`: the primary row, inserted by
    the move."""

    source_id: str
    target_id: str
    is_ours: bool
    another_lives: bool
    referred_to: bool

    @property
    def goes_back(self) -> bool:
        return self.is_ours and not self.another_lives and not self.referred_to


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Everything of one kind. `keys`: of rows of the new table, of old rows where those come back, table/row/column of
    references, or names of columns."""

    kind: LossKind
    keys: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.keys)

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "keys": list(self.keys), "count": self.count, "what": SENTENCES[self.kind]}


def together(before: Iterable[Loss], more: Iterable[Loss]) -> tuple[Loss, ...]:
    """Two lists as one, in which every key stands once, under the kind that named it first."""
    found: dict[LossKind, list[str]] = {}
    known: set[str] = set()
    for loss in (*before, *more):
        found.setdefault(loss.kind, []).extend(key for key in loss.keys if key not in known)
        known.update(loss.keys)
    return tuple(Loss(kind=kind, keys=tuple(found[kind])) for kind in LossKind if found.get(kind))


@dataclass(frozen=True, kw_only=True)
class WentBack:
    """What an attempt took back, as JSON and report show it. removed: None where it has not been counted.
    not_validated: foreign keys that rows written since violate."""

    references_back: int = 0
    merged_back: int = 0
    deletions_back: int = 0
    removed: int | None = 0
    not_validated: tuple[str, ...] = ()
    losses: tuple[Loss, ...] = ()

    @property
    def rows_written(self) -> int:
        return self.references_back + self.merged_back + self.deletions_back + (self.removed or 0)

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> WentBack:
        losses = tuple(Loss(kind=LossKind(one["kind"]), keys=tuple(one["keys"])) for one in told["losses"])
        return cls(**{**told, "not_validated": tuple(told["not_validated"]), "losses": losses})

    def and_then(self, later: WentBack) -> WentBack:
        """Two attempts of the same way back as one."""
        return WentBack(
            references_back=self.references_back + later.references_back,
            merged_back=self.merged_back + later.merged_back,
            deletions_back=self.deletions_back + later.deletions_back,
            removed=(self.removed or 0) + (later.removed or 0),
            not_validated=tuple(dict.fromkeys((*self.not_validated, *later.not_validated))),
            losses=together((loss for loss in self.losses if loss.kind not in FOUND_ANEW), later.losses),
        )

    def as_dict(self) -> dict[str, object]:
        return {
            **self.__dict__,
            "not_validated": list(self.not_validated),
            "losses": [loss.as_dict() for loss in self.losses],
        }


@dataclass(frozen=True, kw_only=True)
class Since:
    """What became of target and references, as it was found. unfit: target ids of edits that do not fit. unknown: what
    `created` would be, where row versions tell nothing."""

    changed: tuple[Changed, ...] = ()
    deleted: tuple[Deleted, ...] = ()
    created: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    other_columns: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()
    unfit_references: tuple[str, ...] = ()
    gone_columns: tuple[str, ...] = ()
    referred: tuple[str, ...] = ()

    @property
    def edits(self) -> tuple[str, ...]:
        """Source ids of the old rows that take an edit back."""
        return tuple(row.source_id for row in self.changed if row.goes_back)

    @property
    def deletions(self) -> tuple[str, ...]:
        """Source ids of the old rows that go, because their row in the target was deleted."""
        carried = {row.source_id for row in self.deleted if row.goes_back}
        return tuple(sorted(carried))


def losses(since: Since, *, switched: bool) -> tuple[Loss, ...]:
    """The list, by kind. switched: the new world is in force, so that edits of primary rows go back into old rows."""
    deletions = set(since.deletions)
    found = {
        LossKind.CREATED_SINCE: since.created,
        LossKind.PERHAPS_CREATED_SINCE: since.unknown,
        LossKind.OTHER_COLUMNS: since.other_columns,
        LossKind.EDITED: _keys(
            since.changed, lambda row: row.edited and row.loaded and not (switched and row.is_primary)
        ),
        LossKind.EDITED_FOUND: _keys(since.changed, lambda row: row.edited and not row.loaded),
        LossKind.OTHER_OWNER: _keys(since.changed, lambda row: row.loaded and row.other_owner),
        LossKind.NEW_COLUMNS: _keys(since.changed, lambda row: row.loaded and row.filled),
        LossKind.DOES_NOT_FIT: since.unfit,
        LossKind.DELETION_COMES_BACK: tuple(
            dict.fromkeys(row.source_id for row in since.deleted if row.source_id not in deletions)
        ),
        LossKind.REFERENCE_DOES_NOT_FIT: since.unfit_references,
        LossKind.REFERENCE_COLUMN_GONE: since.gone_columns,
        LossKind.REFERRED_TO: since.referred,
    }
    return tuple(Loss(kind=kind, keys=keys) for kind, keys in found.items() if keys)


def _keys(rows: Iterable[Changed], wanted: Callable[[Changed], bool]) -> tuple[str, ...]:
    return tuple(row.target_id for row in rows if wanted(row))
