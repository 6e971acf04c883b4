"""The fingerprint of a row: SHA-256 over its columns, each with its length in front. SQL has the same (names.py)."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc


def fingerprints(frame: pd.DataFrame) -> list[str]:
    """One `\\x…` (PostgreSQL's hexadecimal bytea) per row of a frame of Arrow strings, over its columns in order.

    A column is written as its length in bytes, a colon and its UTF-8 bytes; a missing value as `-`.
    """
    parts = [_with_length(pa.array(frame[column])) for column in frame.columns]
    rows = parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "")
    whole, ends = _bytes_of(rows)
    return ["\\x" + sha256(whole[start:end]).hexdigest() for start, end in pairwise(ends)]


def _bytes_of(rows: pa.Array | pa.ChunkedArray) -> tuple[memoryview, list[int]]:
    """All rows as one run of bytes, and where each begins and ends. Copies of wide texts would fragment the memory."""
    array = pa.concat_arrays(rows.chunks) if isinstance(rows, pa.ChunkedArray) else rows
    array = array.cast(pa.large_binary())
    _, ends, whole = array.buffers()
    places = np.frombuffer(ends, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(whole if whole is not None else b""), places.tolist()


def _with_length(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    column = column.cast(pa.string())
    length = pc.binary_length(column).cast(pa.string())
    return pc.fill_null(pc.binary_join_element_wise(length, column, ":"), "-")
