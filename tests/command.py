"""The real command as a subprocess, in a clean environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


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


def call(*arguments: str, **more: Any) -> Answer:
    """`start` and wait."""
    process = start(*arguments, **more)
    out, err = process.communicate(timeout=240)
    return Answer(process.returncode, out, err)


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
