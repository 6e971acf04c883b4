"""The real command in a process of its own and a clean environment: started anew, or forked from one that has imported
everything (see `fork_server`), where a test needs no more of a process than its arguments, output and exit code."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from tests.fork_server import ROOT, ForkServer


@dataclass(frozen=True)
class Answer:
    """What a call printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PIPELINES_", "DATABASE_"))}
    return {**kept, **more}


def start(*arguments: str, cwd: Path = ROOT, module: str = "pipelines.templates", **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(*arguments: str, module: str = "pipelines.templates", anew: bool = False, **more: Any) -> Answer:
    """The command, to its end. anew: started as a shell would; so is one in another folder, which may hold other code."""
    if anew or "cwd" in more:
        process = start(*arguments, module=module, **more)
        out, err = process.communicate(timeout=240)
        return Answer(process.returncode, out, err)
    with tempfile.TemporaryDirectory(prefix="table-move-call-") as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        child = _fork_server().start(module, arguments, out=out, err=err, environment=environment(**more))
        code = child.wait()
        return Answer(code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


@cache
def _fork_server() -> ForkServer:
    server = ForkServer()
    atexit.register(server.close)
    return server


def run_here(*arguments: str, **more: str) -> Answer:
    """The same command in this process: for many cases, where starting it anew each time would take minutes."""
    from pipelines.templates.__main__ import app

    out, err = StringIO(), StringIO()
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment(**more))
    code = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            app(list(arguments), standalone_mode=True)
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return Answer(code, out.getvalue(), err.getvalue())


def run(url: str, reports: Path, *arguments: str, **more: Any) -> Answer:
    """`run --json` on this database."""
    return call("run", "--json", "--grace", "0s", "--report-dir", str(reports), *arguments, DATABASE_URL=url, **more)
