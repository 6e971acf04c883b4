"""Rows whose transactions are so long ago that their numbers have been given again: what has not moved does not look as
if it had. The server's counter is set with pg_resetwal, as years of an application would have set it."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql

from pipelines.table_move.database.queries import query
from pipelines.templates import demo
from tests import servers
from tests.application import Application
from tests.command import run_here

SEGMENT = 2**20  # transactions in a file of pg_xact


@pytest.fixture
def server() -> Iterator[str]:
    """One of its own: its counter is set."""
    with servers.started(servers.NEWEST) as found:
        yield found.get_uri()


def turn_to(server: str, number: int) -> None:
    """The next transactions get numbers from this one on. Everything that was written before is frozen first."""
    for name in everywhere(server):
        with closing(psycopg2.connect(server.replace("/postgres?", f"/{name}?"))) as connection:
            connection.autocommit = True
            connection.cursor().execute("VACUUM (FREEZE)")
    data = Path(shown(server, "data_directory"))
    programs = Path(os.readlink(f"/proc/{(data / 'postmaster.pid').read_text().split()[0]}/exe")).parent
    socket = shown(server, "unix_socket_directories")

    def as_server(*command: str) -> None:
        user = pwd.getpwuid(data.stat().st_uid).pw_name
        runuser = ["runuser", "-u", user, "--"] if os.geteuid() == 0 and user != "root" else []
        subprocess.run([*runuser, *command], check=True, stdout=subprocess.DEVNULL, cwd=data, timeout=60)

    options = ["-o", f"-c unix_socket_directories={socket} -c listen_addresses=", "-l", f"{data}/log.turned"]
    as_server(str(programs / "pg_ctl"), "-D", str(data), "-m", "fast", "-w", "stop")
    as_server(str(programs / "pg_resetwal"), "-x", str(number), str(data))
    as_server("truncate", "-s", "256K", str(data / "pg_xact" / f"{number // SEGMENT:04X}"))
    as_server(str(programs / "pg_ctl"), "-D", str(data), "-w", *options, "start")


def everywhere(server: str) -> list[str]:
    with closing(psycopg2.connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE pg_database SET datallowconn = true RETURNING datname")
        connection.commit()
        return [name for (name,) in cursor]


def shown(server: str, name: str) -> str:
    with closing(psycopg2.connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", (name,))
        return cursor.fetchone()[0]


def new_rows(url: str, since: int) -> list[str]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        is_new = query("versions.is_new", alias=sql.Identifier("s"), since=sql.Literal(since))
        cursor.execute(sql.SQL("SELECT template_id FROM prompt_templates s WHERE {} ORDER BY 1").format(is_new))
        return [key for (key,) in cursor]


def test_what_was_written_since_is_found_and_nothing_else_however_old_it_is(server: str, tmp_path: Path) -> None:
    url = server  # the maintenance database: no session of the test outlives a restart
    with Application(url) as application:
        application.execute(demo.SCHEMA.read_text(encoding="utf-8"))
        application.stage(1, application.business(1), application.template("very old"))
    for number in (1_500_000_000, 3_000_000_000, 2**32 - 20):
        turn_to(server, number)
        with Application(url) as application:
            since = application.value("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            assert since % 2**32 >= number
            application.template(f"written at {number}")
            assert new_rows(url, since) == [f"written at {number}"]
            for _ in range(40):  # the last time over the end of the numbers
                application.execute("SELECT pg_current_xact_id()")
            application.template(f"written after {number}")
            assert new_rows(url, since) == [f"written after {number}", f"written at {number}"]
    options = {"DATABASE_URL": url, "PIPELINES_REPORT_DIR": str(tmp_path)}
    assert run_here("run", "--until", "verify", **options).code == 0
    with Application(url) as application:
        application.template("late")
    assert run_here("run", "--grace", "0s", **options).code == 0
    with Application(url) as application:
        assert application.value("SELECT count(*) FROM templates") == 8
        assert (
            application.value(
                "SELECT count(*) FROM stages JOIN templates ON template_id::text = stage_selection_template_id"
            )
            == 1
        )
