"""Who owns a row: the first rule that answers names the primary owner, every other claimant gets a copy."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from pipelines.table_move.status import OwnerRule


def assign_owners(rows: pd.DataFrame, *, default_owner: str | None) -> pd.DataFrame:
    """Decide the owners of source rows.

    rows: one line per source row, with the Arrow string columns
        claims   "owner=count owner=count …" of the tenants that refer to the row, or missing
        decided  "owner=rule=target owner=rule=target …" of the owners that the map has already, or missing
    default_owner: the owner of rows that nobody refers to; None leaves them without one.

    Returns one line per (row, owner): `row` (position in `rows`), `owner_id`, `owner_rule`, `target_id` (of a decided
    owner, else missing). Rows without any owner are absent. Decided owners come back unchanged; claimants that are
    not among them are added as copies. For undecided rows the most frequent claimant is the primary owner, ties going
    to the smallest id.
    """
    numbered = rows[["claims", "decided"]].reset_index(drop=True)
    decided = _decided(numbered["decided"])
    claimed = _claims(numbered["claims"])
    known = pd.MultiIndex.from_frame(decided[["row", "owner_id"]])
    new = claimed[~pd.MultiIndex.from_frame(claimed[["row", "owner_id"]]).isin(known)]
    first = ~new["row"].duplicated() & ~new["row"].isin(decided["row"])
    new = new.assign(
        owner_rule=first.map({True: OwnerRule.REFERENCES.value, False: OwnerRule.COPY.value}), target_id=None
    )
    parts = [decided, new]
    if default_owner is not None:
        owned = pd.concat([decided["row"], claimed["row"]]).unique()
        rest = numbered.index.difference(owned)
        parts.append(
            pd.DataFrame(
                {"row": rest, "owner_id": default_owner, "owner_rule": OwnerRule.DEFAULT.value, "target_id": None}
            )
        )
    columns = ["row", "owner_id", "owner_rule", "target_id"]
    kept = [part[columns] for part in parts if len(part)]
    owners = pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=columns)
    text = {column: pd.ArrowDtype(pa.string()) for column in columns[1:]}
    return owners.astype({"row": "int64", **text}).sort_values("row", kind="stable", ignore_index=True)


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
    return pd.DataFrame(
        [(row, *fields) for row, fields in zip(parts.index, parts, strict=True)],
        columns=["row", "owner_id", "owner_rule", "target_id"],
    )
