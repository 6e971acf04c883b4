"""Who owns a row: the first rule that answers names the primary owner, every other claimant gets a copy."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from pipelines.table_move.status import OwnerRule

TEXT = pd.ArrowDtype(pa.string())
COLUMNS = ["row", "owner_id", "owner_rule", "target_id"]


def assign_owners(
    rows: pd.DataFrame, target_hash: pd.Series, *, default_owner: str | None, keep_target: bool = False
) -> pd.DataFrame:
    """Decide the owners of source rows.

    rows: one line per source row, with the Arrow string columns
        claims    "owner=count owner=count …" of the tenants that refer to the row, or missing
        assigned  the owner that a person has named for it, or missing
        decided   "owner=rule=target owner=rule=target …" of the owners that the map has already, or missing
        present   "owner=fingerprint" of the row that stands in the target under the same id, or missing
    target_hash: the fingerprint that each row would have in the target.
    default_owner: the owner of rows that nobody refers to; None leaves them without one.
    keep_target: a row that is present keeps its place, whatever it holds and whoever refers to it.

    Returns one line per (row, owner): `row` (position in `rows`), `owner_id`, `owner_rule`, `target_id` (of a decided
    owner, else missing). Rows without any owner are absent. Decided owners come back unchanged; claimants that are
    not among them are added as copies. The primary owner of an undecided row is, first match: that of the equal row
    under the same id, if it refers to the row or nobody does; the one named by a person; the most frequent claimant,
    ties going to the smallest id; the default.
    """
    rows = rows.reset_index(drop=True)
    decided, claimed = _decided(rows["decided"]), _claims(rows["claims"])
    undecided = rows.index.difference(decided["row"])
    candidates = [
        _present(rows["present"], target_hash.reset_index(drop=True), claimed, keep_target=keep_target),
        _primary(rows["assigned"].dropna(), OwnerRule.OWNERS_FILE),
        _primary(claimed.drop_duplicates("row").set_index("row")["owner_id"], OwnerRule.REFERENCES),
        _primary(pd.Series(default_owner, index=rows.index, dtype=TEXT).dropna(), OwnerRule.DEFAULT),
    ]
    primary = pd.concat(candidates, ignore_index=True).drop_duplicates("row")
    known = pd.concat([decided, primary[primary["row"].isin(undecided)]], ignore_index=True)
    copies = claimed[~_pairs(claimed).isin(_pairs(known))]
    copies = copies.assign(owner_rule=OwnerRule.COPY.value, target_id=None)[COLUMNS]
    owners = pd.concat([known.astype(object), copies.astype(object)], ignore_index=True)
    types = {"row": "int64", **dict.fromkeys(COLUMNS[1:], TEXT)}
    return owners.astype(types).sort_values("row", kind="stable", ignore_index=True)


def _pairs(owners: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(owners[["row", "owner_id"]].astype({"row": "int64", "owner_id": TEXT}))


def _primary(owner: pd.Series, rule: OwnerRule) -> pd.DataFrame:
    """Primary owners by one rule, from a series of owners by row."""
    frame = {"row": owner.index, "owner_id": owner.to_numpy(), "owner_rule": rule.value, "target_id": None}
    return pd.DataFrame(frame, columns=COLUMNS)


def _present(present: pd.Series, target_hash: pd.Series, claimed: pd.DataFrame, *, keep_target: bool) -> pd.DataFrame:
    found = present.dropna().str.split("=").explode()
    owner, fingerprint = found.iloc[0::2], found.iloc[1::2]
    if not keep_target:
        equal = fingerprint.to_numpy() == target_hash[fingerprint.index].to_numpy()
        claims = set(zip(claimed["row"], claimed["owner_id"], strict=True))
        claimed_rows = set(claimed["row"])
        refers = [pair in claims or pair[0] not in claimed_rows for pair in zip(owner.index, owner, strict=True)]
        owner = owner[equal & pd.array(refers, dtype=bool)]
    return _primary(owner, OwnerRule.PRESENT)


def _claims(column: pd.Series) -> pd.DataFrame:
    """Claims in ranking order within each row: most references first, then the smallest owner."""
    parts = column.dropna().str.split(" ").explode().str.split("=", expand=False)
    claims = pd.DataFrame(
        [(row, owner, int(count)) for row, (owner, count) in zip(parts.index, parts, strict=True)],
        columns=["row", "owner_id", "count"],
    )
    return claims.sort_values(["row", "count", "owner_id"], ascending=[True, False, True], ignore_index=True)


def _decided(column: pd.Series) -> pd.DataFrame:
    parts = column.dropna().str.split(" ").explode().str.split("=", expand=False)
    return pd.DataFrame([(row, *fields) for row, fields in zip(parts.index, parts, strict=True)], columns=COLUMNS)
