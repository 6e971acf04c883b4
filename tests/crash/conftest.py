"""What the faults are injected into: a nursery of commands, and how many points were tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests import servers
from tests.crash.nursery import Nursery

exhaustive = pytest.mark.exhaustive


@pytest.fixture(
    scope="session",
    params=servers.ASKED or [servers.NEWEST, pytest.param(min(servers.CHOSEN), marks=exhaustive)],
    ids=servers.name,
)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server's maintenance database: the newest version always, the other one where time is no matter."""
    with servers.started(request.param) as found:
        yield found.get_uri()


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
