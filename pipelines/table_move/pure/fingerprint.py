"""The fingerprint of a row: SHA-256 over its columns, each with its length in front. SQL has the same (names.py)."""

from __future__ import annotations

from hashlib import sha256

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc


def fingerprints(frame: pd.DataFrame) -> list[str]:
    """One `\\x…` (PostgreSQL's hexadecimal bytea) per row of a frame of Arrow strings, over its columns in order.

    A column is written as its length in bytes, a colon and its UTF-8 bytes; a missing value as `-`.
    """
    parts = [_with_length(pa.array(frame[column])) for column in frame.columns]
    rows = parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "")
    return ["\\x" + sha256(row).hexdigest() for row in rows.cast(pa.binary()).to_pylist()]


def _with_length(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    column = column.cast(pa.string())
    length = pc.binary_length(column).cast(pa.string())
    return pc.fill_null(pc.binary_join_element_wise(length, column, ":"), "-")
