"""On a terminal: a real database is confirmed once, progress is a bar, control characters in data are shown."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

from tests.application import Application
from tests.command import ROOT, environment


def on_a_terminal(url: str, reports: Path, typed: str, *arguments: str, verb: str = "run") -> tuple[int, str]:
    """Call a verb on a pseudo terminal, type this, and give exit code and everything that was shown."""
    return typed_to("pipelines.templates", url, typed, verb, "--report-dir", str(reports), *arguments)


def typed_to(module: str, url: str, typed: str, *arguments: str) -> tuple[int, str]:
    """The same of any command."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=environment(DATABASE_URL=url, TERM="xterm", COLUMNS="100"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        if not select.select([ours], [], [], 0.2)[0]:
            continue
        try:
            shown += os.read(ours, 65536)
        except OSError:
            break
    os.close(ours)
    return process.wait(120), shown.decode(errors="replace")


def test_a_real_database_is_named_and_confirmed_once(application: Application, tmp_path: Path) -> None:
    application.business(1)
    application.template("a")
    code, shown = on_a_terminal(application.url, tmp_path, "n\n")
    assert code == 2
    assert "Move 1 rows of public.prompt_templates on database" in " ".join(shown.split())
    assert "as role postgres?" in " ".join(shown.split())
    assert "The old table public.prompt_templates is in charge: no move has begun." in " ".join(shown.split())
    assert application.value("SELECT current_database()") in shown
    assert not application.exists("pipelines.run")
    code, shown = on_a_terminal(application.url, tmp_path, "y\n", "--until", "copy")
    assert code == 0, shown
    assert application.value("SELECT count(*) FROM templates") == 1
    code, shown = on_a_terminal(application.url, tmp_path, "", "--until", "copy", "--yes")
    assert code == 0, shown
    assert "Move 1 rows" not in shown


def test_rollback_and_purge_ask_once_as_well(application: Application, tmp_path: Path) -> None:
    business = application.business(1)
    application.template("a")
    application.stage(1, business, "a")
    assert on_a_terminal(application.url, tmp_path, "", "--yes")[0] == 0
    for verb, asked in (("purge", "then drop the retired table?"), ("rollback", "Take the move of 1 rows of")):
        places = application.places()
        code, shown = on_a_terminal(application.url, tmp_path, "n\n", verb=verb)
        assert (code, asked in shown) == (2, True), shown
        assert application.places() == places
    code, shown = on_a_terminal(application.url, tmp_path, "y\n", verb="rollback")
    assert code == 0, shown
    assert application.exists("public.prompt_templates")


def test_data_cannot_steer_the_terminal(application: Application, tmp_path: Path) -> None:
    business = application.business(1)
    application.template("a")
    application.stage(1, business, "a", "\x1b]0;owned\x07\x1b[2Jnowhere")
    application.execute("UPDATE businesses SET business_name = E'evil \\x1b[2J name'")
    code, shown = on_a_terminal(application.url, tmp_path, "", "--yes", "--default-business", "\x1b[2Jnobody")
    assert code == 3
    assert "\x1b[2Jnobody" not in shown
    assert "\\x1b[2Jnobody" in shown
