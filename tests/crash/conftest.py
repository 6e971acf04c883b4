"""What the faults are injected into: a nursery of commands, and how many points were tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.crash.nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with Nursery() as found:
        yield found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many points were tried, over all workers."""
    points: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name.startswith("points: ") and report.when == "call":
                points[name.removeprefix("points: ")] += value
    for name, count in sorted(points.items()):
        terminalreporter.write_line(f"{count:,} points: {name}")
