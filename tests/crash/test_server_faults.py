"""The server crashes, restarts, turns read-only or takes no more connections in the middle of a run."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg2
import pytest

from tests.application import Application
from tests.conftest import empty_database
from tests.crash import small_move
from tests.crash.final_state import differences, final_state, residue
from tests.crash.nursery import Child, Nursery
from tests.crash.sweep import RUN
from tests.crash.test_fencing import until

PHASES = ("copy", "verify", "cutover", "retire", "confirm")


def some(always: str) -> list:
    return [pytest.param(one, marks=[] if one == always else pytest.mark.exhaustive) for one in PHASES]


def restart(url: str, mode: str) -> None:
    """`pg_ctl restart`, by the program and the user that the server runs as; its options are those it had."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        data = Path(cursor.fetchone()[0])
    postmaster = (data / "postmaster.pid").read_text(encoding="utf-8").split()[0]
    program = Path(os.readlink(f"/proc/{postmaster}/exe")).with_name("pg_ctl")
    user = pwd.getpwuid(data.stat().st_uid).pw_name
    as_user = ["runuser", "-u", user, "--"] if os.geteuid() == 0 and user != "root" else []
    command = [*as_user, str(program), "-D", str(data), "-m", mode, "-w", "-l", f"{data}/log.crash", "restart"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=data, timeout=60)


@contextmanager
def small_database(server: str) -> Iterator[str]:
    """The small move, on a server that may be restarted meanwhile."""
    name = f"crash_{os.getpid()}_{time.monotonic_ns()}"
    url = server.replace("/postgres?", f"/{name}?")
    for statement in (f"CREATE DATABASE {name}", f"DROP DATABASE {name} WITH (FORCE)"):
        with closing(psycopg2.connect(server)) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)
        if statement.startswith("CREATE"):
            with Application(url) as application:
                small_move.fill(application)
            yield url


@pytest.fixture(scope="module")
def expected(any_server: str, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    with small_database(any_server) as url:
        assert nursery.call(url, *RUN, "--report-dir", str(tmp_path_factory.mktemp("reports"))).code == 0
        with Application(url) as application:
            return final_state(application)


def goes_on(nursery: Nursery, url: str, reports: Path, expected: dict[str, list]) -> None:
    again = nursery.call(url, *RUN, "--report-dir", str(reports))
    assert again.code == 0, again.err
    with Application(url) as application:
        assert residue(application) == {}
        assert differences(final_state(application), expected) == {}


def come_to(url: str, phase: str) -> None:
    with Application(url) as application:
        until(
            lambda: (
                application.exists("pipelines.run")
                and application.value("SELECT count(*) FROM pipelines.run WHERE phase = %s", (phase,))
            ),
            seconds=60,
        )


def start(nursery: Nursery, url: str, reports: Path, phase: str) -> Child:
    """A run that has come to this phase."""
    going = nursery.start(url, *RUN, "--grace", "500ms", "--report-dir", str(reports))
    come_to(url, phase)
    return going


@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", ["immediate", "fast"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_server_that_stops_in_the_middle_ends_the_run_and_the_next_one_goes_on(
    any_server: str, nursery: Nursery, tmp_path: Path, expected: dict[str, list], phase: str, mode: str
) -> None:
    with small_database(any_server) as url:
        going = start(nursery, url, tmp_path, phase)
        restart(any_server, mode)
        ended = going.wait()
        assert ended.code in (0, 7), ended.err  # 0: it was done already
        goes_on(nursery, url, tmp_path, expected)


@pytest.mark.parametrize("phase", some("cutover"))
def test_a_killed_backend_which_makes_the_server_restart_all_ends_the_run_and_the_next_one_goes_on(
    server: str, nursery: Nursery, tmp_path: Path, phase: str
) -> None:
    with small_database(server) as url:
        going = start(nursery, url, tmp_path, phase)
        with Application(url) as application, suppress(psycopg2.Error, ProcessLookupError):
            pids = (
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'pipelines' AND datname = current_database()"
            )
            for (pid,) in application.rows(pids)[:1]:
                os.kill(pid, signal.SIGKILL)
        ended = going.wait()
        assert ended.code in (0, 7), ended.err
        until(lambda: is_up(server))
        again = nursery.call(url, *RUN, "--report-dir", str(tmp_path))
        assert again.code == 0, again.err


def is_up(server: str) -> bool:
    with suppress(psycopg2.Error), closing(psycopg2.connect(server)):
        return True
    return False


def test_a_server_that_turns_read_only_is_a_reason_to_stop_and_says_so(
    server: str, nursery: Nursery, tmp_path: Path
) -> None:
    """As after a failover to a standby: sessions that are opened from then on cannot write."""
    with small_database(server) as url:
        going = start(nursery, url, tmp_path, "copy")
        with Application(url) as application:
            name = application.value("SELECT current_database()")
            application.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            ended = going.wait()
            assert ended.code == 3, ended.err
            assert "default_transaction_read_only" in ended.err
            again = nursery.call(url, *RUN, "--report-dir", str(tmp_path))
            assert again.code == 3, again.err
            assert "default_transaction_read_only" in again.err
            application.execute(
                f"SET default_transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only"
            )
        assert nursery.call(url, *RUN, "--report-dir", str(tmp_path)).code == 0


@pytest.mark.parametrize("phase", ["preflight", pytest.param("copy", marks=pytest.mark.exhaustive)])
def test_a_server_that_takes_no_more_connections_is_one_to_try_again(
    server: str, nursery: Nursery, tmp_path: Path, phase: str
) -> None:
    with empty_database(server) as url:
        with Application(url) as application:
            small_move.fill(application)
            limit = application.value("SELECT current_setting('max_connections')::int")
        going = start(nursery, url, tmp_path, phase) if phase == "copy" else None
        taken = []
        with suppress(psycopg2.OperationalError):
            for _ in range(limit + 10):
                taken.append(psycopg2.connect(url))
        assert len(taken) > 20
        try:
            ended = (going or nursery.start(url, *RUN, "--report-dir", str(tmp_path))).wait()
            assert ended.code == 7, ended.err
            assert "too many connections" in ended.err
        finally:
            for one in taken:
                one.close()
        time.sleep(0.2)
        assert nursery.call(url, *RUN, "--report-dir", str(tmp_path)).code == 0
