"""Which parts of a heap are still to be read. A place is (block, line); a range is [from, to), the last one open."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Place(NamedTuple):
    """A ctid."""

    block: int
    line: int

    def __str__(self) -> str:
        return f"({self.block},{self.line})"

    @classmethod
    def parse(cls, text: str) -> Place:
        block, line = re.fullmatch(r"\((\d+),(\d+)\)", text).groups()
        return cls(int(block), int(line))


class Range(NamedTuple):
    """From a place up to, not including, another; `end` None is open."""

    start: Place
    end: Place | None

    def __str__(self) -> str:
        return f"{self.start}-{self.end or ''}"

    @classmethod
    def parse(cls, text: str) -> Range:
        start, _, end = text.partition("-")
        return cls(Place.parse(start), Place.parse(end) if end else None)


ROW_OVERHEAD = 512  # bytes that a row takes beside its texts, with its line in the map


def batches(places: Iterable[tuple[Place, int]], batch_bytes: int) -> Iterator[list[Place]]:
    """Group places, each with the bytes of its row, so that a group holds about `batch_bytes`, and at least one row."""
    group, size = [], 0
    for place, row_bytes in places:
        if group and size + row_bytes + ROW_OVERHEAD > batch_bytes:
            yield group
            group, size = [], 0
        group.append(place)
        size += row_bytes + ROW_OVERHEAD
    if group:
        yield group


_END = Place(2**32, 0)


def every(blocks: int, heap_blocks: int) -> list[Place]:
    """Where to cut a heap of `heap_blocks` into pieces of `blocks`: the start of each piece."""
    return [Place(block, 0) for block in range(0, max(heap_blocks, 1), max(blocks, 1))]


def remaining(cuts: Iterable[Place], done: Iterable[Range]) -> list[Range]:
    """The ranges between the cuts, without what is done; the first begins at the start, the last one is open."""
    gaps = _complement(done)
    found = []
    starts = sorted({Place(0, 0), *cuts})
    for start, end in zip(starts, [*starts[1:], _END], strict=True):
        for low, high in gaps:
            first, last = max(start, low), min(end, high)
            if first < last:
                found.append(Range(first, None if last == _END else last))
    return found


def _complement(done: Iterable[Range]) -> list[tuple[Place, Place]]:
    gaps, reached = [], Place(0, 0)
    for start, end in sorted((one.start, one.end or _END) for one in done):
        if end <= start:
            continue  # an empty range
        if start > reached:
            gaps.append((reached, start))
        reached = max(reached, end)
    if reached < _END:
        gaps.append((reached, _END))
    return gaps
