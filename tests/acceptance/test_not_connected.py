"""A connection that is refused: told by what the server means, whatever language it speaks, and with the place."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import psycopg2
import pytest

from pipelines.table_move.database.address import parse_url
from pipelines.table_move.database.connect import Database
from pipelines.table_move.errors import ConnectionLost
from tests.application import Application
from tests.command import call, run_here


class Case(NamedTuple):
    """What is done to the role `evening` and the database {name}; the exit code; what is said, and what is not."""

    name: str
    done: str
    code: int
    said: str
    not_said: str = "no server is at this socket"


REFUSED = (
    Case("no such role", "DROP ROLE evening", 3, "there is no such role"),
    Case("may not log in", "ALTER ROLE evening NOLOGIN", 3, "may not log in"),
    Case("no CONNECT", "REVOKE CONNECT ON DATABASE {name} FROM public", 3, "lacks CONNECT"),
    Case("takes none", "ALTER DATABASE {name} ALLOW_CONNECTIONS false", 3, "the database takes no connections"),
    Case("a limit of the role", "ALTER ROLE evening CONNECTION LIMIT 0", 7, "a limit of the role"),
    Case("a limit of the database", "ALTER DATABASE {name} CONNECTION LIMIT 0", 7, "too many connections"),
    Case("a library that is gone", "ALTER ROLE evening SET session_preload_libraries = 'gone'", 3, "58P01"),
    Case(
        "a login that fails",
        "CREATE FUNCTION greet() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1 FROM visits; END $$;"
        "CREATE EVENT TRIGGER greet ON login EXECUTE FUNCTION greet()",
        3,
        "a trigger at the login failed with SQLSTATE 42P01",
    ),
    Case(
        "a login that refuses",
        "CREATE FUNCTION greet() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not at night'; END $$;"
        "CREATE EVENT TRIGGER greet ON login EXECUTE FUNCTION greet()",
        3,
        "a trigger at the login failed with SQLSTATE P0001",
        "not at night",
    ),
)


@pytest.fixture
def maintenance(server: str) -> Iterator[Application]:
    """Another database's session, for what lets nobody in."""
    with Application(server) as found:
        found.execute("DROP ROLE IF EXISTS evening; CREATE ROLE evening LOGIN")
        yield found
        found.execute("DROP ROLE IF EXISTS evening")


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_refused_connection_is_told_by_its_sqlstate(maintenance: Application, url: str, case: Case) -> None:
    name = url.partition("?")[0].rpartition("/")[2]
    if "ON login" in case.done and maintenance.value("SELECT current_setting('server_version_num')::int") < 170000:
        pytest.skip("no triggers at the login")
    with Application(url) as inside:
        (inside if "ON login" in case.done else maintenance).execute(case.done.format(name=name))
    answer = run_here("status", DATABASE_URL=url.replace("postgres:@", "evening@").replace("postgres@", "evening@"))
    if "greet" in case.done:
        with psycopg2.connect(url, options="-c event_triggers=off") as connection:
            connection.cursor().execute("DROP EVENT TRIGGER greet")
        connection.close()
    assert (answer.code, case.said in answer.err) == (case.code, True), answer.err
    assert f":5432/{name} as evening: " in answer.err
    assert case.not_said not in answer.err


def test_no_such_database_is_named_with_the_place(server: str) -> None:
    answer = run_here("status", DATABASE_URL=server.replace("/postgres?", "/gone?"))
    assert (answer.code, "there is no such database" in answer.err) == (3, True), answer.err
    assert "/gone as postgres: " in answer.err


def test_where_nobody_is_reached_it_is_one_to_try_again() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        for host, said in (
            ("127.0.0.1:1", "127.0.0.1:1/evening as mover: nothing listens on this port"),
            ("no.such.host.invalid", "no.such.host.invalid:5432/evening as mover: the host name is not known"),
            (f"127.0.0.1:{silent.getsockname()[1]}", "nobody answered in time"),
            ("%2Fnowhere", "/nowhere:5432/evening as mover: no server is at this socket"),
        ):
            answer = call("status", DATABASE_URL=f"postgresql://mover:hidden@{host}/evening?connect_timeout=2")
            assert (answer.code, said in answer.err) == (7, True), answer.err
            assert "hidden" not in answer.err


def test_once_a_call_has_met_the_server_what_it_committed_stays(maintenance: Application, url: str) -> None:
    database = Database(parameters={**parse_url(url), "user": "evening"})
    database.connect().close()
    maintenance.execute("ALTER ROLE evening CONNECTION LIMIT 0")
    with pytest.raises(ConnectionLost, match="too many connections") as told:
        database.connect()
    assert "What was committed stays" in told.value.untouched
