"""Real servers from the wheel, versions 16 and 18; a database of its own for every test that asks for one."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from pipelines.table_move.database import embedded
from pipelines.table_move.database.address import parse_url
from pipelines.table_move.database.connect import Database
from pipelines.templates import demo
from tests import machine_server
from tests.application import Application

VERSIONS = (16, 18)
_numbers = itertools.count(1)


@pytest.fixture(scope="session", params=VERSIONS, ids=lambda version: f"pg{version}")
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server's maintenance database.

    Its data stand outside of pytest's own folder: every session of pytest closes that to other users, and the server
    runs as one where the tests run as root.
    """
    with tempfile.TemporaryDirectory(prefix=f"table-move-pg{request.param}-") as folder:
        server = embedded.server(Path(folder) / "data", version=request.param)
        without_fsync(server.get_uri())
        yield server.get_uri()
        server.cleanup()


def without_fsync(uri: str) -> None:
    """Processes are killed here, never the machine: a database per test is made several times as fast."""
    connection = psycopg2.connect(uri)
    connection.autocommit = True
    for statement in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):
        connection.cursor().execute(statement)
    connection.close()


@pytest.fixture
def url(server: str) -> Iterator[str]:
    """The URL of an empty database."""
    with empty_database(server) as url:
        yield url


@pytest.fixture(scope="session", params=[*VERSIONS, "machine"], ids=lambda version: f"pg-{version}")
def any_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The same, and the machine's own server version, where one is installed."""
    if request.param != "machine":
        with tempfile.TemporaryDirectory(prefix=f"table-move-pg{request.param}-") as folder:
            server = embedded.server(Path(folder) / "data", version=request.param)
            yield server.get_uri()
            server.cleanup()
        return
    binaries = machine_server.binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed on this machine")
    with machine_server.started(binaries) as url:
        yield url


@pytest.fixture
def any_url(any_server: str) -> Iterator[str]:
    """The URL of an empty database on any of the servers."""
    with empty_database(any_server) as url:
        yield url


@contextmanager
def empty_database(server: str, *, template: str = "template1") -> Iterator[str]:
    """A database of its own: empty, or a copy of another one that nobody is connected to."""
    name = f"test_{next(_numbers)}"
    connection = psycopg2.connect(server)
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.replace("/postgres?", f"/{name}?")
    connection.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
    connection.close()


@pytest.fixture
def application(url: str) -> Iterator[Application]:
    """The application's tables, generation A, empty."""
    with Application(url) as found:
        found.execute(demo.SCHEMA.read_text(encoding="utf-8"))
        yield found


@pytest.fixture
def demonstration(url: str) -> Iterator[Application]:
    """The demonstration data, 600 rows."""
    connection = psycopg2.connect(url)
    demo.create(connection, rows=600)
    connection.close()
    with Application(url) as found:
        yield found


@pytest.fixture
def database(url: str) -> Database:
    """The empty database as the pipeline sees it."""
    return Database(parameters=parse_url(url))
