"""Name-based UUIDs, version 8 over SHA-256 (RFC 9562, appendix B.2): the same on every machine, and in plain SQL."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from uuid import UUID

# What uuid's own text output looks like; other spellings of a UUID are plain text ids.
CANONICAL_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def name_based_ids(namespace: UUID, source_ids: Iterable[str], owners: Iterable[str | None]) -> list[str]:
    """One canonical UUID per (source id, owner).

    owners: the owner's canonical text for the copies of other owners, None for the primary owner.
    """
    start = sha256(namespace.bytes)
    found = []
    for source_id, owner in zip(source_ids, owners, strict=True):
        digest = start.copy()
        digest.update(source_id.encode())
        if owner is not None:
            digest.update(b"\0" + owner.encode())
        text = digest.hexdigest()
        found.append(f"{text[:8]}-{text[8:12]}-8{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}")
    return found
