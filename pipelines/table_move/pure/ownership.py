"""Who owns a row: the first rule that answers names the primary owner, every other claimant gets a copy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.table_move.status import OwnerRule

TEXT = pd.ArrowDtype(pa.string())
UUID_LENGTH = 36
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
    known = decided
    if rows["present"].notna().any():
        hashes = target_hash.reset_index(drop=True)
        known = _extended(known, _present(rows["present"], hashes, claimed, keep_target=keep_target))
    if rows["assigned"].notna().any():
        known = _extended(known, _primary(rows["assigned"].dropna(), OwnerRule.OWNERS_FILE))
    most_frequent = claimed.drop_duplicates("row").set_index("row")["owner_id"]
    known = _extended(known, _primary(most_frequent, OwnerRule.REFERENCES))
    if default_owner is not None:
        rest = rows.index.difference(known["row"])
        known = _extended(known, _primary(pd.Series(default_owner, index=rest, dtype=TEXT), OwnerRule.DEFAULT))
    copies = claimed[~_among(claimed, known)].assign(owner_rule=OwnerRule.COPY.value, target_id=None)
    owners = pd.concat([known, _typed(copies)], ignore_index=True)
    return owners.sort_values("row", kind="stable", ignore_index=True)


def _extended(known: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """What is known, and what was found for other rows."""
    return pd.concat([known, found[~found["row"].isin(known["row"])]], ignore_index=True)


def _typed(owners: pd.DataFrame) -> pd.DataFrame:
    return owners[COLUMNS].astype({"row": "int64", **dict.fromkeys(COLUMNS[1:], TEXT)})


def _among(owners: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """Which (row, owner) of `owners` stand in `others` too. By numbers: there are few owners and many rows."""
    codes, known = pd.factorize(pd.concat([owners["owner_id"], others["owner_id"]], ignore_index=True))
    keys = np.concatenate([owners["row"], others["row"]]).astype("int64") * max(len(known), 1) + codes
    return np.isin(keys[: len(owners)], keys[len(owners) :])


def _primary(owner: pd.Series, rule: OwnerRule) -> pd.DataFrame:
    """Primary owners by one rule, from a series of owners by row."""
    frame = {"row": owner.index, "owner_id": owner.array, "owner_rule": rule.value, "target_id": None}
    return _typed(pd.DataFrame(frame))


def _present(present: pd.Series, target_hash: pd.Series, claimed: pd.DataFrame, *, keep_target: bool) -> pd.DataFrame:
    found = present.dropna()
    owner, fingerprint = found.str.slice(0, UUID_LENGTH), found.str.slice(UUID_LENGTH + 1)
    frame = _primary(owner, OwnerRule.PRESENT)
    if keep_target:
        return frame
    equal = fingerprint.to_numpy() == target_hash[fingerprint.index].to_numpy()
    refers = _among(frame, claimed) | ~frame["row"].isin(claimed["row"]).to_numpy()
    return frame[equal & refers]


def _claims(column: pd.Series) -> pd.DataFrame:
    """row, owner_id, in ranking order within each row: most references first, then the smallest owner."""
    row, parts = _parts(column)
    claims = pd.DataFrame(
        {
            "row": row,
            "owner_id": pd.Series(pc.utf8_slice_codeunits(parts, 0, UUID_LENGTH), dtype=TEXT),
            "count": pc.utf8_slice_codeunits(parts, UUID_LENGTH + 1).cast(pa.int64()).to_numpy(zero_copy_only=False),
        }
    )
    contested = claims["row"].duplicated(keep=False)
    ranked = claims[contested].sort_values(["row", "count", "owner_id"], ascending=[True, False, True])
    claims = pd.concat([claims[~contested], ranked], ignore_index=True)
    return claims[["row", "owner_id"]]


def _decided(column: pd.Series) -> pd.DataFrame:
    row, parts = _parts(column)
    fields = pa.array(pc.split_pattern(parts, "="))
    return _typed(
        pd.DataFrame({"row": row} | {name: pc.list_element(fields, place) for place, name in enumerate(COLUMNS[1:])})
    )


def _parts(column: pd.Series) -> tuple[np.ndarray, pa.Array]:
    """The parts of a list in a text, and the row that each stands in."""
    texts = pa.array(column)
    lists = pc.split_pattern(texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts, " ")
    return pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype("int64"), pc.list_flatten(lists)
