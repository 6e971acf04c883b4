"""A process that has imported everything and holds no connection; its forked children are the commands under test.

Requests come as JSON, one a line: start forks a child that runs the real command line, wait answers when it has ended.
Importing pandas and Great Expectations takes seconds, and what a first run compiles and looks up in them half a second
more; a fork takes none. So the process itself may make one move before the first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.command import ROOT, environment
from tests.crash.faults import Fault

LONGEST = 120  # seconds after which a child ends itself


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

    def __init__(self, nursery: Nursery, pid: int, folder: Path) -> None:
        self._nursery, self.pid, self._folder = nursery, pid, folder

    def wait(self) -> Ended:
        code = self._nursery.ask(wait=self.pid)["code"]
        out, err, points = ((self._folder / name).read_text(encoding="utf-8") for name in ("out", "err", "points"))
        return Ended(code, out, err, tuple(points.splitlines()))

    def wait_until_stopped(self) -> None:
        """Until its fault has stopped it (SIGSTOP)."""
        assert self._nursery.ask(wait_until_stopped=self.pid)["stopped"]

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Nursery:
    """The tests' end of it."""

    def __enter__(self) -> Nursery:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery"],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._folder = tempfile.TemporaryDirectory(prefix="table-move-nursery-")
        self._number = 0
        self.warm = False
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(LONGEST)
        self._folder.cleanup()

    def warm_up(self, url: str, *arguments: str) -> None:
        """One command in the nursery itself, undisturbed, to its end."""
        ended = self.ask(warm_up=arguments, url=url)
        assert ended == {"code": 0, "threads": ["MainThread"]}, ended  # a fork has no other
        self.warm = True

    def start(self, url: str, *arguments: str, fault: Fault | None = None, **options: str) -> Child:
        """options: as in the environment, lock_wait for PIPELINES_LOCK_WAIT."""
        self._number += 1
        folder = Path(self._folder.name) / str(self._number)
        folder.mkdir()
        pid = self.ask(start=arguments, url=url, fault=fault and asdict(fault), options=options, folder=str(folder))[
            "pid"
        ]
        return Child(self, pid, folder)

    def call(self, url: str, *arguments: str, fault: Fault | None = None, **options: str) -> Ended:
        return self.start(url, *arguments, fault=fault, **options).wait()

    def ask(self, **request: Any) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def main() -> None:
    """The nursery's own end."""
    import great_expectations  # noqa: F401
    import pandas  # noqa: F401
    from tqdm import tqdm

    from pipelines.table_move import runner, verifier  # noqa: F401
    from pipelines.templates.__main__ import app  # noqa: F401

    tqdm.monitor_interval = 0  # no thread that watches progress bars: forks would not have it
    tqdm.set_lock(threading.RLock())  # the default one is shared with forks: one that is killed would keep it for good
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            answer = {"pid": _fork(request)}
        elif "warm_up" in request:
            answer = {
                "code": _call_quietly(request["warm_up"], request["url"]),
                "threads": [thread.name for thread in threading.enumerate()],
            }
        elif "wait_until_stopped" in request:
            _, status = os.waitpid(request["wait_until_stopped"], os.WUNTRACED)
            answer = {"stopped": os.WIFSTOPPED(status)}
        else:
            _, status = os.waitpid(request["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        print(json.dumps(answer), flush=True)


def _call_quietly(arguments: Sequence[str], url: str) -> int:
    """The command, in this process and leaving nothing of it, with its output thrown away."""
    with patch.dict(os.environ, DATABASE_URL=url), open(os.devnull, "w") as nowhere:
        kept = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in kept:
                os.dup2(nowhere.fileno(), number)
            return _call(arguments)
        finally:
            for number, before in kept.items():
                os.dup2(before, number)
                os.close(before)


def _call(arguments: Sequence[str]) -> int:
    from pipelines.templates.__main__ import app

    try:
        app(arguments, standalone_mode=True)
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.environ.update({f"PIPELINES_{name.upper()}": value for name, value in request["options"].items()})
        code = _be_the_command(request["start"], request["url"], request["fault"], Path(request["folder"]))
    finally:
        os._exit(code)


def _be_the_command(arguments: Sequence[str], url: str, fault: dict[str, Any] | None, folder: Path) -> int:
    from tests.crash import faults

    signal.alarm(LONGEST)
    os.environ["DATABASE_URL"] = url
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faults.install(Fault(**fault) if fault else None, folder / "points")
    return _call(arguments)


if __name__ == "__main__":
    main()
