"""Name-based UUIDs, version 8 over SHA-256 (RFC 9562, appendix B.2): the same on every machine, and in plain SQL."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# What uuid's own text output looks like; other spellings of a UUID are plain text ids.
CANONICAL_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


def name_based_ids(namespace: UUID, source_ids: Iterable[str], owners: Iterable[str | None]) -> list[str]:
    """One canonical UUID per (source id, owner).

    owners: the owner's canonical text for the copies of other owners, None for the primary owner.
    """
    source, owner = pa.array(source_ids, pa.string()), pa.array(owners, pa.string())
    names = pc.coalesce(pc.binary_join_element_wise(source, owner, "\0"), source).cast(pa.binary())
    start = namespace.bytes
    digests = b"".join([sha256(start + name).digest()[:16] for name in names.to_pylist()])
    ids = np.frombuffer(digests, dtype=np.uint8).reshape(-1, 16).copy()
    ids[:, 6] = ids[:, 6] & 0x0F | 0x80  # the version
    ids[:, 8] = ids[:, 8] & 0x3F | 0x80  # the variant
    text = ids.tobytes().hex()
    return [
        f"{text[at : at + 8]}-{text[at + 8 : at + 12]}-{text[at + 12 : at + 16]}-{text[at + 16 : at + 20]}-"
        f"{text[at + 20 : at + 32]}"
        for at in range(0, len(text), 32)
    ]
