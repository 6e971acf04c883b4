"""Real servers (see tests/servers.py); a database of its own for every test that asks for one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest

from pipelines.table_move.database.address import parse_url
from pipelines.table_move.database.connect import Database
from pipelines.templates import demo
from tests import servers
from tests.application import Application

_numbers = itertools.count(1)


@pytest.fixture(scope="session", params=servers.CHOSEN, ids=servers.name)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server's maintenance database."""
    with servers.started(request.param) as found:
        yield found.get_uri()


@pytest.fixture
def url(server: str) -> Iterator[str]:
    """The URL of an empty database."""
    with empty_database(server) as url:
        yield url


@pytest.fixture(scope="session", params=servers.ALL, ids=servers.name)
def any_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The same, of every major."""
    with servers.started(request.param) as found:
        yield found.get_uri()


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
