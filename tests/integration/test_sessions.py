"""Sessions: pinned before anything runs, cancelled from another thread, one run at a time, fenced."""

from __future__ import annotations

import threading
import time

import psycopg2
import pytest

from pipelines.table_move.database import journal
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.lock import exclusive
from pipelines.table_move.database.refusals import told_by_sqlstate
from pipelines.table_move.errors import AnotherRunActive, Blocked, ConnectionLost, Fenced, NotInTime
from pipelines.table_move.status import Milestone
from tests.application import Application


def test_a_session_is_pinned_whatever_the_database_says(application: Application, database: Database) -> None:
    name = application.value("SELECT current_database()")
    for setting, value in (
        ("search_path", "public"),
        ("default_transaction_isolation", "serializable"),
        ("statement_timeout", "'1s'"),
        ("row_security", "on"),
        ("client_encoding", "LATIN1"),
        ("DateStyle", "'German'"),
        ("TimeZone", "'Asia/Kathmandu'"),
    ):
        application.execute(f"ALTER DATABASE {name} SET {setting} = {value}")
    with database.writing() as cursor:
        for setting, value in (
            ("search_path", "pg_catalog, pg_temp"),
            ("transaction_isolation", "read committed"),
            ("statement_timeout", "0"),
            ("row_security", "off"),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO, YMD"),
            ("TimeZone", "UTC"),
        ):
            cursor.execute(f"SHOW {setting}")
            assert cursor.fetchone()[0] == value, setting


def test_a_reading_transaction_cannot_write(application: Application, database: Database) -> None:
    with database.reading() as cursor, pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        cursor.execute("DELETE FROM public.stages")


def test_a_running_statement_is_cancelled_from_another_thread(database: Database) -> None:
    timer = threading.Timer(0.3, database.cancel)
    started = time.monotonic()
    timer.start()
    with pytest.raises(NotInTime), told_by_sqlstate(), database.writing() as cursor:
        cursor.execute("SELECT pg_sleep(30)")
    assert time.monotonic() - started < 20


def test_a_terminated_backend_is_a_lost_connection(application: Application, database: Database) -> None:
    with pytest.raises(ConnectionLost), told_by_sqlstate(), database.writing() as cursor:
        application.execute("SELECT pg_terminate_backend(%s)", (cursor.connection.get_backend_pid(),))
        cursor.execute("SELECT 1")


def test_a_lost_connection_is_told_whoever_wraps_it(application: Application, database: Database) -> None:
    """In the middle of a COPY psycopg2 says no more than DatabaseError; SQLAlchemy and Great Expectations wrap it."""
    for wrapped in (psycopg2.DatabaseError("server closed the connection unexpectedly"), RuntimeError("no connection")):
        with pytest.raises(ConnectionLost), told_by_sqlstate():
            raise wrapped from psycopg2.OperationalError("server closed the connection unexpectedly")
    with pytest.raises(RuntimeError), told_by_sqlstate():
        raise RuntimeError("a bug") from ValueError("of ours")


def test_one_run_at_a_time_and_the_other_is_told_who(database: Database) -> None:
    with exclusive(database, "templates"):
        with pytest.raises(AnotherRunActive, match="table_move"), exclusive(database, "templates", polled_for=0.3):
            pass
        with exclusive(database, "another move", polled_for=0):
            pass
    with exclusive(database, "templates", polled_for=0):
        pass


def test_a_run_that_was_overtaken_may_not_write(application: Application, database: Database, begin) -> None:
    application.business(1)
    first = begin()
    second = begin()
    with database.writing() as cursor:
        with pytest.raises(Fenced):
            first.attempt.hold_fence(cursor)
        with pytest.raises(Fenced):
            journal.reach(cursor, "templates", first.attempt.run_id, Milestone.SWITCHED)
        second.attempt.hold_fence(cursor)
    with pytest.raises(Fenced):
        first.copy()
    assert application.value("SELECT state FROM pipelines.run WHERE run_id = %s", (first.attempt.run_id,)) == (
        "interrupted"
    )


def test_a_milestone_is_reached_only_along_an_allowed_way(application: Application, database: Database, begin) -> None:
    application.business(1)
    run_id = begin().attempt.run_id
    with pytest.raises(Fenced), database.writing() as cursor:
        journal.reach(cursor, "templates", run_id, Milestone.CONFIRMED)
    assert application.value("SELECT milestone FROM pipelines.move") == "copying"


def test_a_schema_of_the_journals_name_that_is_not_ours_is_left_alone(
    application: Application, database: Database
) -> None:
    application.execute("CREATE SCHEMA pipelines")
    with database.reading() as cursor, pytest.raises(Blocked):
        journal.exists(cursor)
