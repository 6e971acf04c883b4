"""Commands of the crash suite: children of a fork server, disturbed at a point of theirs."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.command import environment
from tests.crash.faults import Fault
from tests.fork_server import Child as Forked
from tests.fork_server import ForkServer

MODULE = "pipelines.templates"


@dataclass(frozen=True)
class Ended:
    """A command that is over: its exit code (negative: the signal that killed it), its output, the points it passed."""

    code: int
    out: str
    err: str
    points: tuple[str, ...]

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


class Child:
    """A command under way."""

    def __init__(self, forked: Forked, folder: Path) -> None:
        self._forked, self._folder = forked, folder
        self.pid, self.send, self.wait_until_stopped = forked.pid, forked.send, forked.wait_until_stopped

    def wait(self) -> Ended:
        code = self._forked.wait()
        out, err, points = ((self._folder / name).read_text(encoding="utf-8") for name in ("out", "err", "points"))
        return Ended(code, out, err, tuple(points.splitlines()))


class Nursery:
    """A fork server of its own, and the folders of its children."""

    def __enter__(self) -> Nursery:
        self._server = ForkServer()
        self._folder = tempfile.TemporaryDirectory(prefix="table-move-nursery-")
        self._number = 0
        self.warm = False
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._folder.cleanup()

    def warm_up(self, url: str, *arguments: str) -> None:
        """One command in the server itself, undisturbed, to its end."""
        self._server.warm_up(MODULE, arguments, {"DATABASE_URL": url})
        self.warm = True

    def start(self, url: str, *arguments: str, fault: Fault | None = None, **options: str) -> Child:
        """options: as in the environment, lock_wait for PIPELINES_LOCK_WAIT."""
        self._number += 1
        folder = Path(self._folder.name) / str(self._number)
        folder.mkdir()
        settings = {f"PIPELINES_{name.upper()}": value for name, value in options.items()}
        forked = self._server.start(
            MODULE,
            arguments,
            out=folder / "out",
            err=folder / "err",
            environment=environment(DATABASE_URL=url, **settings),
            fault={"log": str(folder / "points"), "fault": fault and asdict(fault)},
        )
        return Child(forked, folder)

    def call(self, url: str, *arguments: str, fault: Fault | None = None, **options: str) -> Ended:
        return self.start(url, *arguments, fault=fault, **options).wait()
