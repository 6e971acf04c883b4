"""Expected times, from rates measured on two cores with PostgreSQL 18 and default settings, and sizes.

Rough on purpose. A server that is slower, or busy, shows in how long the plan's own look takes: what is expected grows
with it.
"""

from __future__ import annotations

LOOKED_PER_SECOND = 180_000  # rows and references in the plan's own look
COPIED_PER_SECOND = 28_000  # rows with their map
CHECKED_PER_SECOND = 15_000  # rows that are compared, asked about, and counted for the report
REWIRED_PER_SECOND = 60_000  # references
FIXED_SECONDS = 6.0  # start, import of the checks, report
LOOKED_AGAIN_PER_SECOND = 350_000  # rows whose versions are looked at in the pause
SWITCHED_PER_SECOND = 70_000  # references that are changed in the pause
FIXED_PAUSE_SECONDS = 0.25
SLOWER_IN_THE_PAUSE = 0.85  # power of the slowness: part of what makes a busy server slow are the writers, who wait
DISK_FACTOR = 5
MAP_BYTES_PER_ROW = 600  # a map row, its two index entries, their log


SLOWEST = 20.0


def expected_seconds(*, rows: int, references: int, slowness: float = 1) -> float:
    """Seconds of a whole run."""
    usual = rows / COPIED_PER_SECOND + rows / CHECKED_PER_SECOND + references / REWIRED_PER_SECOND
    return FIXED_SECONDS + usual * slowness


def expected_pause_seconds(*, rows: int, references: int, slowness: float = 1) -> float:
    """Seconds that writers wait: one look at the numbers of all row versions, the references."""
    usual = FIXED_PAUSE_SECONDS + rows / LOOKED_AGAIN_PER_SECOND + references / SWITCHED_PER_SECOND
    return usual * slowness**SLOWER_IN_THE_PAUSE


def slowness(seconds: float, *, looked_at: int) -> float:
    """How many times as long as usual things take at the moment, 1 to 20.

    seconds: of the plan's own look at so many rows and references.
    """
    return min(max(1.0, seconds / (0.1 + max(looked_at, 0) / LOOKED_PER_SECOND)), SLOWEST)


def needed_bytes(*, stored: int, rows: int) -> int:
    """Bytes that a run may take on the server's disk beside the source, whose heap and TOAST hold `stored` bytes.

    Five times what is stored: the new rows, their indexes, the write-ahead log of both until the checkpoint after the
    next, and what the checks keep while they ask. The map and its log come on top, by row. rows: -1 where nobody knows.
    """
    return DISK_FACTOR * stored + MAP_BYTES_PER_ROW * max(rows, 0)
