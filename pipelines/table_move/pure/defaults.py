"""Whether a column's default is the same value for every row, as far as its text shows it."""

from __future__ import annotations

import re

_CONSTANT = re.compile(
    r"\(*-?(?:NULL|true|false|\d+(?:\.\d+)?|'(?:[^']|'')*'|ARRAY\[\])\)*(?:::[\w\s.\"\[\](),]+)?", re.IGNORECASE
)


def is_constant(default: str) -> bool:
    """A literal, cast or not, as the catalog writes it; anything that is computed is none."""
    return _CONSTANT.fullmatch(default) is not None
