"""Ways to a server: a pooler in between, of whole sessions or of single transactions; one of several hosts."""

from __future__ import annotations

from pathlib import Path

import psycopg2
import pytest

from pipelines.table_move.database.address import parse_url
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.server import Backend
from pipelines.table_move.errors import Blocked, ConnectionLost
from tests.application import Application
from tests.command import call
from tests.pooler import pgbouncer


@pytest.fixture
def arranged(application: Application) -> Application:
    one = application.business(1)
    for number in range(5):
        application.template(f"row {number}", f"text {number}")
    application.stage(1, one, "row 1", "row 2")
    return application


@pytest.mark.parametrize(
    "settings",
    [{}, {"ignore_startup_parameters": "options"}, {"server_reset_query": "''", "server_round_robin": "1"}],
    ids=["refuses options", "swallows options", "resets nothing"],
)
def test_through_a_pooler_of_sessions_everything_works(
    arranged: Application, tmp_path: Path, settings: dict[str, str]
) -> None:
    with pgbouncer(arranged.url, pool_mode="session", **settings) as url:
        where = {"DATABASE_URL": url, "PIPELINES_REPORT_DIR": str(tmp_path)}
        archive = str(tmp_path / "archive")
        for arguments in (
            ("plan",),
            ("run", "--grace", "0s"),
            ("status",),
            ("verify",),
            ("rollback",),
            ("run", "--grace", "0s"),
            ("purge", "--archive", archive, "--yes"),
        ):
            answer = call(*arguments, **where)
            assert answer.code == 0, (arguments, answer.err)
        assert arranged.value("SELECT count(*) FROM templates") == 5
        folder = next(Path(archive).iterdir())
        assert call("rollback", "--archive", str(folder), **where).code == 0
        assert arranged.value("SELECT count(*) FROM prompt_templates") == 5
        with psycopg2.connect(url) as other, other.cursor() as cursor:
            cursor.execute("SELECT current_setting('search_path'), current_setting('row_security')")
            assert cursor.fetchone() == ('"$user", public', "on"), "nothing is left in the sessions of the pool"
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            assert cursor.fetchone() == (0,)
        other.close()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("settings", [{}, {"ignore_startup_parameters": "options", "server_round_robin": "1"}])
def test_a_pooler_of_transactions_is_refused_with_the_way_on(
    arranged: Application, tmp_path: Path, mode: str, settings: dict[str, str]
) -> None:
    before = arranged.catalog()
    with pgbouncer(arranged.url, pool_mode=mode, **settings) as url:
        for verb in ("plan", "run", "status", "rollback"):
            answer = call(verb, DATABASE_URL=url, PIPELINES_REPORT_DIR=str(tmp_path))
            assert answer.code == 3, (verb, answer.out, answer.err)
            assert "pool_mode = session" in answer.out + answer.err
    assert arranged.catalog() == before


def test_a_pool_without_room_is_told_as_one(arranged: Application, tmp_path: Path) -> None:
    where = {"PIPELINES_REPORT_DIR": str(tmp_path)}
    with pgbouncer(arranged.url, default_pool_size="3", query_wait_timeout="2") as url:
        answer = call("run", "--grace", "0s", DATABASE_URL=url, **where)
        assert (answer.code, "default_pool_size" in answer.err) == (7, True), answer.err
    with pgbouncer(arranged.url, max_client_conn="1") as url:
        other = psycopg2.connect(url)
        refused = call("run", DATABASE_URL=url, **where)
        assert (refused.code, "a pooler refused" in refused.err) == (7, True), refused.err  # somebody may leave
        other.close()
    assert call("run", "--grace", "0s", DATABASE_URL=arranged.url, **where).code == 0


def test_a_pooler_under_a_role_whose_backslashes_escape_is_refused_before_anything_is_said(
    arranged: Application,
) -> None:
    """psycopg2 asks at the connection how literals are read; behind a pooler that takes no options it is too late then."""
    name = arranged.value("SELECT quote_ident(current_database())")
    arranged.execute(f"ALTER DATABASE {name} SET standard_conforming_strings = off")
    with pgbouncer(arranged.url) as url, pytest.raises(Blocked, match="standard_conforming_strings"):
        Database(parameters=parse_url(url)).connect()
    with Database(parameters=parse_url(arranged.url)).session() as session, session.cursor() as cursor:
        cursor.execute("SELECT %s", ("\\'",))
        assert cursor.fetchone() == ("\\'",)


@pytest.mark.parametrize("wanted", ["any", "read-write", "primary", "prefer-standby"])
def test_of_several_hosts_all_sessions_meet_the_one_that_answers(
    arranged: Application, tmp_path: Path, wanted: str
) -> None:
    several = arranged.url.replace("host=", f"target_session_attrs={wanted}&host=/nowhere,")
    answer = call("run", "--grace", "0s", DATABASE_URL=several, PIPELINES_REPORT_DIR=str(tmp_path))
    assert answer.code == 0, answer.err
    database = Database(parameters=parse_url(several))
    with database.session():
        assert "," not in database.arguments["host"]
        assert "/nowhere" not in database.arguments["host"]


def test_another_server_than_the_one_that_was_met_is_told(arranged: Application) -> None:
    database = Database(parameters=parse_url(arranged.url))
    with database.session() as session:
        found = session.backend
        other = Backend(pid=found.pid, cluster=found.cluster + 1, is_standby=False)
        database.server.meet(session, other, is_pooled=False)
    with pytest.raises(ConnectionLost, match="Another server"), database.session():
        pass
