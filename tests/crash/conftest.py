"""What the faults are injected into: a nursery of commands, and how many points were tried."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.table_move.database import embedded
from tests.conftest import without_fsync
from tests.crash.nursery import Nursery

exhaustive = pytest.mark.exhaustive


@pytest.fixture(scope="session", params=[18, pytest.param(16, marks=exhaustive)], ids=lambda version: f"pg{version}")
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server's maintenance database: the newest version always, the other one where time is no matter."""
    with tempfile.TemporaryDirectory(prefix=f"table-move-pg{request.param}-") as folder:
        found = embedded.server(Path(folder) / "data", version=request.param)
        without_fsync(found.get_uri())
        yield found.get_uri()
        found.cleanup()


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
