"""Expected times, from rates measured on two cores with PostgreSQL 18 and default settings, and sizes.

Rough on purpose.
"""

from __future__ import annotations

ROWS_PER_SECOND = 25_000  # copy with map
CHECKED_PER_SECOND = 120_000  # rows through all suites
REWIRED_PER_SECOND = 60_000  # references
FIXED_SECONDS = 6.0  # start, import of the checks, report
FIXED_PAUSE_SECONDS = 0.7
DISK_FACTOR = 4
MAP_BYTES_PER_ROW = 600  # a map row, its two index entries, their log


def expected_seconds(*, rows: int, references: int) -> float:
    """Seconds of a whole run: the copy, the suites twice, the references."""
    return FIXED_SECONDS + rows / ROWS_PER_SECOND + 2 * rows / CHECKED_PER_SECOND + references / REWIRED_PER_SECOND


def expected_pause_seconds(*, rows: int, references: int) -> float:
    """Seconds that writers wait: one look at everything, the suites once, the references."""
    return FIXED_PAUSE_SECONDS + rows / CHECKED_PER_SECOND + references / REWIRED_PER_SECOND


def needed_bytes(*, stored: int, rows: int) -> int:
    """Bytes that a run may take on the server's disk beside the source, whose heap and TOAST hold `stored` bytes.

    Four times what is stored: the new rows, their indexes, and the write-ahead log of both until the checkpoint after
    the next. The map and its log come on top, by row. rows: -1 where nobody knows.
    """
    return DISK_FACTOR * stored + MAP_BYTES_PER_ROW * max(rows, 0)
