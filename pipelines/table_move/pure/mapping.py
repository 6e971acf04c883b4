"""From source rows to target rows, map rows and rejects: frames in, frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from pipelines.table_move.pure.facts import ColumnLimit
from pipelines.table_move.pure.fingerprint import fingerprints
from pipelines.table_move.pure.ids import CANONICAL_UUID, name_based_ids
from pipelines.table_move.pure.ownership import assign_owners
from pipelines.table_move.spec import Move
from pipelines.table_move.status import OwnerRule

TEXT = pd.ArrowDtype(pa.string())

Transform = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True, kw_only=True)
class MappedRows:
    """What a batch becomes. Every (source row, owner) stands in exactly one of `pairs` and `rejected`.

    pairs: source_id, owner_id, owner_rule, target_id, source_hash, target_hash, and the target's columns.
    rejected: source_id, owner_id, owner_rule (both missing where no rule named an owner), reason, detail.
    """

    pairs: pd.DataFrame
    rejected: pd.DataFrame

    @property
    def source_ids(self) -> list[str]:
        """Every source row that it is about, once."""
        return pd.concat([self.pairs["source_id"], self.rejected["source_id"]]).unique().tolist()

    def halves(self) -> list[MappedRows]:
        """Two parts with half of the source rows each; one source row is not parted."""
        source_ids = self.source_ids
        if len(source_ids) < 2:
            return [self]
        first = source_ids[: len(source_ids) // 2]
        return [self.only(first, without=False), self.only(first, without=True)]

    def only(self, source_ids: Iterable[str], *, without: bool) -> MappedRows:
        """The part about these source rows, or the part without them."""
        pairs, rejected = (
            frame[frame["source_id"].isin(source_ids) != without] for frame in (self.pairs, self.rejected)
        )
        return MappedRows(pairs=pairs, rejected=rejected)


def map_rows(
    rows: pd.DataFrame,
    *,
    move: Move,
    transform: Transform,
    default_owner: str | None,
    limits: Mapping[str, ColumnLimit],
    keep_target: bool = False,
) -> MappedRows:
    """Map one batch.

    rows: Arrow strings `source_id`, the source's columns, `source_hash`, and `claims`, `assigned`, `decided`,
        `present` (see `assign_owners`).
    limits: per target column; a value beyond them rejects its row.
    """
    rows = rows.reset_index(drop=True)
    mapped = transform(rows[["source_id", *move.source.columns]])
    content = mapped[list(move.target.columns)]
    content = content.assign(target_hash=pd.Series(fingerprints(content), dtype=TEXT))
    owners = assign_owners(rows, content["target_hash"], default_owner=default_owner, keep_target=keep_target)
    problems = pd.concat([_value_problems(mapped, limits), _without_owner(rows, owners)]).drop_duplicates("row")
    good = owners[~owners["row"].isin(problems["row"])].reset_index(drop=True)
    bad = problems.merge(owners[["row", "owner_id", "owner_rule"]], on="row", how="left")
    return MappedRows(pairs=_pairs(rows, content, good, move), rejected=_rejected(rows, bad))


def _pairs(rows: pd.DataFrame, content: pd.DataFrame, owners: pd.DataFrame, move: Move) -> pd.DataFrame:
    row = owners["row"]
    content = content.take(row).reset_index(drop=True)
    source = rows[["source_id", "source_hash"]].take(row).reset_index(drop=True)
    target_id = _target_ids(source["source_id"], owners, move)
    named = owners[["owner_id", "owner_rule"]]
    return pd.concat([source, named, content], axis=1).assign(target_id=target_id)


def _target_ids(source_id: pd.Series, owners: pd.DataFrame, move: Move) -> pd.Series:
    """A decided id stays; a canonical UUID is kept for the primary owner; every other row gets a name-based id."""
    primary = owners["owner_rule"] != OwnerRule.COPY.value
    kept = primary & source_id.str.match(CANONICAL_UUID)
    ids = owners["target_id"].where(owners["target_id"].notna() | ~kept, source_id)
    missing = ids.isna()
    copy_owner = owners["owner_id"].where(~primary)[missing]
    made = name_based_ids(move.namespace, source_id[missing].array, copy_owner.array)
    ids = ids.copy()
    ids[missing] = pd.Series(made, index=ids.index[missing], dtype=TEXT)
    return ids.astype(TEXT)


def _value_problems(mapped: pd.DataFrame, limits: Mapping[str, ColumnLimit]) -> pd.DataFrame:
    found = [pd.DataFrame({"row": [], "reason": [], "detail": []}).astype({"row": "int64"})]
    for column, limit in limits.items():
        values = mapped[column]
        if not limit.nullable:
            found.append(_problem(values.isna(), "missing_value", f"{column} has no value"))
        if limit.characters is not None:
            too_long = (values.str.len() > limit.characters).fillna(False)
            found.append(_problem(too_long, "value_too_long", f"{column} has more than {limit.characters} characters"))
    return pd.concat(found, ignore_index=True)


def _problem(where: pd.Series, reason: str, detail: str) -> pd.DataFrame:
    row = where.index[where.astype(bool)]
    return pd.DataFrame({"row": row.astype("int64"), "reason": reason, "detail": detail})


def _without_owner(rows: pd.DataFrame, owners: pd.DataFrame) -> pd.DataFrame:
    alone = rows.index.difference(owners["row"])
    detail = "nobody refers to the row and there is no default owner"
    return pd.DataFrame({"row": alone.astype("int64"), "reason": "no_owner", "detail": detail})


def _rejected(rows: pd.DataFrame, bad: pd.DataFrame) -> pd.DataFrame:
    source_id = rows["source_id"].take(bad["row"]).reset_index(drop=True)
    frame = pd.concat([source_id, bad[["owner_id", "owner_rule", "reason", "detail"]].reset_index(drop=True)], axis=1)
    return frame.astype(TEXT)
