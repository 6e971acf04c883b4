"""A process that has imported everything and holds no connection; its forked children are the commands under test.

Importing pandas and Great Expectations takes seconds of CPU, a fork takes none. A child has the arguments, environment,
streams and exit code of a command started from a shell: the module runs as `__main__`. What an interpreter reads
only at its start (PYTHON… variables, the locale) is the server's; commands that are about that are started for real.

Requests come as JSON, one a line: start forks a child, poll says how it is, warm_up runs one command in the server.
"""

from __future__ import annotations

import atexit
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LONGEST = 240  # seconds after which a child ends itself


class Child:
    """A command under way."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server, self.pid = server, pid

    def wait(self) -> int:
        """Its exit code; negative: the signal that ended it."""
        while (state := self._server.ask(poll=self.pid)).get("code") is None:
            time.sleep(0.01)
        return state["code"]

    def wait_until_stopped(self) -> None:
        """Until a SIGSTOP has stopped it."""
        while not (state := self._server.ask(poll=self.pid)).get("stopped"):
            assert state.get("code") is None, f"it ended with {state['code']} instead of stopping"
            time.sleep(0.01)

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


class ForkServer:
    """The tests' end of it."""

    def __init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PIPELINES_"))}
        kept.pop("DATABASE_URL", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server"],
            cwd=ROOT,
            env=kept,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._turn = threading.Lock()

    def start(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        out: Path,
        err: Path,
        environment: Mapping[str, str],
        fault: Mapping[str, Any] | None = None,
    ) -> Child:
        """`python -m MODULE ARGUMENTS`, its output into two files. fault: what the crash suite does to it, and `log`."""
        pid = self.ask(
            start={
                "module": module,
                "arguments": list(arguments),
                "out": str(out),
                "err": str(err),
                "environment": dict(environment),
                "fault": fault,
            }
        )["pid"]
        return Child(self, pid)

    def warm_up(self, module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """One command in the server itself, to its end: what a first run compiles and looks up is there for all."""
        request = {"module": module, "arguments": list(arguments), "environment": dict(environment)}
        ended = self.ask(warm_up=request)
        assert ended == {"code": 0, "threads": ["MainThread"]}, ended  # a fork has no other

    def ask(self, **request: Any) -> dict[str, Any]:
        with self._turn:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(LONGEST)
        self._process.stdout.close()


def main() -> None:
    """The server's own end."""
    _import_everything()
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            answer = {"pid": _fork(request["start"])}
        elif "warm_up" in request:
            answer = {"code": _in_here(request["warm_up"]), "threads": [one.name for one in threading.enumerate()]}
        else:
            answer = _poll(request["poll"])
        print(json.dumps(answer), file=protocol, flush=True)


def _import_everything() -> None:
    import great_expectations  # noqa: F401
    from tqdm import tqdm

    import pipelines

    for found in pkgutil.walk_packages(pipelines.__path__, "pipelines."):
        import_module(found.name)
    tqdm.monitor_interval = 0  # no thread that watches progress bars: forks would not have it
    tqdm.set_lock(threading.RLock())  # the default one is shared with forks: one that is killed would keep it for good


def _poll(pid: int) -> dict[str, Any]:
    found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
    if not found:
        return {}
    return {"stopped": True} if os.WIFSTOPPED(status) else {"code": os.waitstatus_to_exitcode(status)}


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = _be_the_command(request)
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _be_the_command(request: dict[str, Any]) -> int:
    signal.alarm(LONGEST)
    _use_streams(Path(request["out"]), Path(request["err"]))
    os.environ.clear()
    os.environ.update(request["environment"])
    if request["fault"] is not None:
        from tests.crash import faults

        faults.install_from(request["fault"])
    return _call(request["module"], request["arguments"])


def _use_streams(out: Path, err: Path) -> None:
    for path, number in ((out, 1), (err, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", encoding="utf-8", buffering=1, closefd=False)
    sys.stdin = sys.__stdin__ = os.fdopen(0, encoding="utf-8", closefd=False)


def _call(module: str, arguments: Sequence[str]) -> int:
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _in_here(request: dict[str, Any]) -> int:
    """The command, in this process and leaving nothing of it, with its output thrown away."""
    environment, arguments = dict(os.environ), sys.argv
    os.environ.update(request["environment"])
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        with open(os.devnull, "w") as nowhere:
            for number in kept:
                os.dup2(nowhere.fileno(), number)
            return _call(request["module"], request["arguments"])
    finally:
        for number, before in kept.items():
            os.dup2(before, number)
            os.close(before)
        sys.argv = arguments
        os.environ.clear()
        os.environ.update(environment)


if __name__ == "__main__":
    main()
