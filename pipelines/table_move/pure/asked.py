"""What a statement asked of a table, and what it got: rows that are not as they were asked to be, as a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_SHOWN = 3  # keys in a message


class Got(StrEnum):
    """How a row differs from what was asked."""

    MISSING = "missing"
    CHANGED = "changed"
    STILL_THERE = "still_there"


_SAID = {
    Got.MISSING: ("not there under the id that the move gave it", "not there under the ids that the move gave them"),
    Got.CHANGED: ("not as the move wrote it", "not as the move wrote them"),
    Got.STILL_THERE: ("still there after it was deleted", "still there after they were deleted"),
}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Rows of one table that one kind of statement did not get as it asked.

    table: for people. event: INSERT, UPDATE or DELETE. rows: (key, how it differs).
    meddlers: what of the installation stands between the statement and its rows.
    """

    table: str
    event: str
    rows: Sequence[tuple[str, str]]
    meddlers: Sequence[str]

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(key for key, _ in self.rows)

    @property
    def sentence(self) -> str:
        parts = [self._part(got) for got in Got if any(found == got for _, found in self.rows)]
        return f"{self.table} did not take what {self.event} asked of it: {'; '.join(parts)}."

    @property
    def remedy(self) -> str:
        if not self.meddlers:
            return f"Look for triggers of other tables and rules that change rows of {self.table}."
        plural = "s" if len(self.meddlers) > 1 else ""
        return (
            f"Look at the {' and the '.join(self.meddlers)} on {self.table}: let it pass the rows of the move, or "
            f"disable the trigger{plural} for the time of the call (ALTER TABLE … DISABLE TRIGGER …)."
        )

    def _part(self, got: Got) -> str:
        keys = [key for key, found in self.rows if found == got]
        more = "" if len(keys) <= _SHOWN else ", …"
        one, several = _SAID[got]
        said = f"1 row is {one}" if len(keys) == 1 else f"{len(keys)} rows are {several}"
        return f"{said} ({', '.join(keys[:_SHOWN])}{more})"
