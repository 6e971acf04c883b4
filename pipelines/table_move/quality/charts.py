"""The geometry of the report's charts: pure functions from counts to coordinates of inline SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTH = 720
ENDS = ("inserted", "already_present", "adopted", "conflict", "rejected")
_HEIGHT, _GAP, _NODE = 250.0, 26.0, 14.0
_COLUMNS = (0.0, 250.0, 500.0)  # where the nodes of each column begin
_OWNERS = 7  # owners with a band of their own


@dataclass(kw_only=True)
class Node:
    """A bar of the flow with its label; `used` says how much of each side is taken by bands."""

    label: str
    rows: int
    x: float
    y: float
    height: float
    tone: str = "node"
    used: dict[str, float] = field(default_factory=lambda: {"in": 0.0, "out": 0.0})


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Old rows and copies → dispositions → owners."""

    nodes: Sequence[Node]
    bands: Sequence[Mapping[str, Any]]
    height: float


def flow(owners: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> Flow:
    """owners: rows by owner, rule and disposition; without them (a move without tenants) the counts say it all."""
    lines = [
        (line["rule"] == "copy", line.get("disposition", "inserted"), line["owner"], line["rows"]) for line in owners
    ]
    if not lines:
        lines = [(False, end, "", counts["conflicts" if end == "conflict" else end]) for end in ENDS]
    lines = [line for line in lines if line[3]]
    names = _with_own_band(lines)
    began, ended = Counter[str](), Counter[tuple[str, str]]()
    left: Counter[tuple[str, str]] = Counter()
    for copy, end, owner, rows in lines:
        start = "copies for other owners" if copy else "rows of the old table"
        began[start] += rows
        left[start, end] += rows
        if owner:
            ended[end, names.get(owner, "other owners")] += rows
    middles = Counter[str]()
    for (_, end), rows in left.items():
        middles[end] += rows
    rights = Counter[str]()
    for (_, owner), rows in ended.items():
        rights[owner] += rows
    columns = [
        _column(0, sorted(began.items(), reverse=True)),
        _column(1, [(end, middles[end]) for end in ENDS if middles[end]]),
        _column(2, sorted(rights.items(), key=lambda item: (item[0] == "other owners", -item[1], item[0]))),
    ]
    for node in columns[1].values():
        node.tone = f"b{ENDS.index(node.label)}"
    bands = _bands(columns[0], columns[1], left) + _bands(columns[1], columns[2], ended)
    nodes = [node for column in columns for node in column.values()]
    return Flow(nodes=nodes, bands=bands, height=max((node.y + node.height for node in nodes), default=0) + 12)


def _with_own_band(lines: Sequence[tuple[bool, str, str, int]]) -> dict[str, str]:
    rows: Counter[str] = Counter()
    for _, _, owner, count in lines:
        rows[owner] += count
    limit = _OWNERS if len(rows) > _OWNERS + 1 else len(rows)
    return {owner: owner for owner, _ in rows.most_common(limit)}


def _column(number: int, items: Sequence[tuple[str, int]]) -> dict[str, Node]:
    total = sum(rows for _, rows in items) or 1
    room = _HEIGHT - 60.0
    found, y = {}, 4.0
    for label, rows in items:
        height = max(room * rows / total, 2.0)
        found[label] = Node(label=label, rows=rows, x=_COLUMNS[number], y=round(y, 2), height=round(height, 2))
        y += max(height, 8.0) + _GAP * (0.45 if height > 20 else 0.6)
    return found


def _bands(left: dict[str, Node], right: dict[str, Node], links: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    bands = []
    for one in left.values():
        for two in right.values():
            rows = links.get((one.label, two.label), 0)
            if rows:
                tone = two.tone if two.tone != "node" else one.tone
                bands.append(
                    {"path": _band(one, two, rows), "tone": tone, "said": f"{one.label} → {two.label}: {rows:,}"}
                )
    return bands


def _band(one: Node, two: Node, rows: int) -> str:
    a, b = one.y + one.used["out"], two.y + two.used["in"]
    thick_a, thick_b = one.height * rows / one.rows, two.height * rows / two.rows
    one.used["out"] += thick_a
    two.used["in"] += thick_b
    x, z = one.x + _NODE, two.x
    m = (x + z) / 2
    points = (x, a, m, a, m, b, z, b, z, b + thick_b, m, b + thick_b, m, a + thick_a, x, a + thick_a)
    text = [f"{point:.1f}" for point in points]
    pairs = [f"{first},{second}" for first, second in zip(text[::2], text[1::2], strict=True)]
    return f"M{pairs[0]} C{pairs[1]} {pairs[2]} {pairs[3]} L{pairs[4]} C{pairs[5]} {pairs[6]} {pairs[7]} Z"


def timeline(
    timings: Mapping[str, float], phases: Mapping[str, str], gate: Mapping[str, float]
) -> list[dict[str, Any]]:
    """One line per phase that was entered: where its bar begins and ends, and how much of it the checks took.

    timings, gate: seconds by phase. The phases follow each other.
    """
    total = sum(timings.get(name, 0.0) for name in phases) or 1.0
    lines, x, room = [], 0.0, 430.0
    for name, what in phases.items():
        if name in timings:
            width = room * timings[name] / total
            checks = min(gate.get(name, 0.0), timings[name])
            lines.append(
                {
                    "name": name,
                    "what": what,
                    "seconds": timings[name],
                    "x": round(110 + x, 1),
                    "width": round(max(width, 1.5), 1),
                    "checks": round(width * checks / timings[name], 1) if timings[name] else 0.0,
                    "gate": gate.get(name, 0.0),
                    "end": round(110 + x + max(width, 1.5) + 8, 1),
                }
            )
            x += width
    return lines
