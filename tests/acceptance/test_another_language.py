"""A server that speaks German and asks for passwords: what is told of a refused connection is the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from tests.command import run_here
from tests.servers import MACHINE

PROGRAMS = Path(MACHINE[0].format(15))
HBA = """
local all postgres trust
local all stranger reject
local all all scram-sha-256
"""
CONFIGURATION = """
listen_addresses = ''
unix_socket_directories = '{place}'
lc_messages = 'de_DE.UTF-8'
fsync = off
max_connections = 8
"""
ROLES = """
SET lc_messages = 'de_DE.UTF-8';
CREATE ROLE mover LOGIN PASSWORD 'right'; CREATE ROLE stranger LOGIN;
CREATE ROLE sleeper PASSWORD 'right'; CREATE ROLE crowd LOGIN PASSWORD 'right' CONNECTION LIMIT 0
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """The folder of its socket."""
    if os.geteuid() != 0 or not PROGRAMS.exists() or not shutil.which("localedef"):
        pytest.skip("needs root, the machine's own PostgreSQL 15 and localedef")
    with tempfile.TemporaryDirectory(prefix="table-move-german-") as folder:
        place, data = Path(folder), Path(folder) / "data"
        subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", place / "de_DE.UTF-8"], check=False)
        data.mkdir()
        for path in (place, data):
            shutil.chown(path, user="postgres")
        as_postgres = ["runuser", "-u", "postgres", "--", "env", f"LOCPATH={place}"]
        initdb = [PROGRAMS / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--locale=C", "-E", "UTF8"]
        subprocess.run([*as_postgres, *initdb], check=True, capture_output=True, cwd=place)
        with (data / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION.format(place=place))
        (data / "pg_hba.conf").write_text(HBA)
        pg_ctl = [*as_postgres, PROGRAMS / "pg_ctl", "-D", data, "-w"]
        if subprocess.run(
            [*pg_ctl, "-l", data / "log", "start"], check=False, capture_output=True, cwd=place
        ).returncode:
            pytest.skip("no server speaks German here")
        try:
            with psycopg2.connect(host=folder, user="postgres", dbname="postgres") as connection:
                connection.cursor().execute(ROLES)
            connection.close()
            yield place
        finally:
            subprocess.run([*pg_ctl, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=place)


def test_a_refused_connection_is_told_the_same(place: Path) -> None:
    with pytest.raises(psycopg2.OperationalError) as refused:
        psycopg2.connect(host=place, user="mover", password="wrong", dbname="postgres")
    if "Passwort" not in str(refused.value):
        pytest.skip("no server speaks German here")
    for who, database, code, said in (
        ("mover:wr0ng-canary", "postgres", 3, "the password is wrong or the role is not known"),
        ("mover", "postgres", 3, "a password is needed, and none was given"),
        ("nobody:wr0ng-canary", "postgres", 3, "the password is wrong or the role is not known"),
        ("stranger", "postgres", 3, "pg_hba.conf does not admit it"),
        ("sleeper:right", "postgres", 3, "may not log in"),
        ("mover:right", "gone", 3, "there is no such database"),
        ("crowd:right", "postgres", 7, "too many connections: a limit of the role"),
    ):
        url = f"postgresql://{who}@/{database}?host={place}"
        answer = run_here("status", DATABASE_URL=url, PGPASSFILE=os.devnull)
        assert (answer.code, said in answer.err) == (code, True), (who, answer.err)
        assert f"{place}:5432/{database} as {who.partition(':')[0]}: " in answer.err
        assert "canary" not in answer.err
