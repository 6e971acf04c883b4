"""Numbered files up and down: by us and by psql, in order, once, and nothing half done."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psycopg2
import pytest

from tests import servers
from tests.application import Application
from tests.command import Answer, call, start
from tests.postgres_tools import contents, psql, schema_dump

LINE = (
    "CREATE SCHEMA IF NOT EXISTS pipelines_migrations;\n"
    "CREATE TABLE IF NOT EXISTS pipelines_migrations.applied (number bigint PRIMARY KEY, name text NOT NULL, sha256 text,"
    " applied_at timestamptz NOT NULL DEFAULT clock_timestamp(), applied_by text NOT NULL DEFAULT session_user);\n"
    "INSERT INTO pipelines_migrations.applied (number, name) VALUES ({number}, '{name}') ON CONFLICT DO NOTHING;\n"
)
# For what does not differ between the versions of the server.
ONE_VERSION = pytest.mark.parametrize("server", [servers.NEWEST], indirect=True, ids=servers.name)
GONE = "DELETE FROM pipelines_migrations.applied WHERE number = {number};\n"


def write(folder: Path, name: str, forward: str, back: str) -> Path:
    number = int(name[:2])
    file = folder / f"{name}.sql"
    file.write_text(
        f"-- {name}: for the tests.\n{forward};\n" + LINE.format(number=number, name=name), encoding="utf-8"
    )
    (folder / f"{name}.rollback.sql").write_text(f"{back};\n" + GONE.format(number=number), encoding="utf-8")
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three small migrations, one of them with % and : in it."""
    write(
        tmp_path,
        "01_one",
        "CREATE TABLE one (id int CHECK (id % 2 = 0), note text DEFAULT ':x 100%s')",
        "DROP TABLE one",
    )
    write(tmp_path, "02_two", "CREATE TABLE two (id int)", "DROP TABLE two")
    write(tmp_path, "03_three", "CREATE TABLE three (id int)", "DROP TABLE three")
    return tmp_path


def migrations(application: Application, *arguments: str, folder: Path, **more: str) -> Answer:
    place = [] if arguments[0] == "run" else ["--folder", str(folder)]
    return call(*arguments, "--json", *place, module="pipelines.migrations", DATABASE_URL=application.url, **more)


def states(application: Application, folder: Path) -> list[str]:
    answer = migrations(application, "status", folder=folder)
    assert answer.code == 0, answer.err
    return [line["state"] for line in answer.json["migrations"]]


def test_up_and_down_and_up_again(application: Application, folder: Path) -> None:
    places = application.places()
    assert states(application, folder) == ["pending"] * 3
    assert application.places() == places, "status creates nothing"
    before = schema_dump(application)

    first = migrations(application, "up", "--to", "2", folder=folder)
    assert (first.code, first.json["applied"]) == (0, ["01_one", "02_two"]), first.err
    assert states(application, folder) == ["applied", "applied", "pending"]
    rest = migrations(application, "up", folder=folder)
    assert rest.json["applied"] == ["03_three"]
    filled = schema_dump(application)
    again = migrations(application, "up", folder=folder)
    assert (again.code, again.json["applied"]) == (0, [])

    assert migrations(application, "down", "--yes", folder=folder).json["taken_back"] == ["03_three"]
    assert migrations(application, "down", "--yes", "--to", "0", folder=folder).json["taken_back"] == [
        "02_two",
        "01_one",
    ]
    assert (schema_dump(application), states(application, folder)) == (before, ["pending"] * 3)
    assert migrations(application, "up", folder=folder).code == 0
    assert schema_dump(application) == filled
    history = application.rows(
        "SELECT operation, migration_id, username <> '' FROM pipelines_migrations._yoyo_log ORDER BY created_at_utc"
    )
    assert [row[0] for row in history] == ["apply"] * 3 + ["rollback"] * 3 + ["apply"] * 3
    assert all(named for *_, named in history)


def test_what_psql_applied_or_took_back_is_known(application: Application, folder: Path) -> None:
    assert psql(application, str(folder / "01_one.sql")).code == 0
    assert states(application, folder) == ["applied by psql", "pending", "pending"]
    answer = migrations(application, "run", "--file", str(folder / "02_two.sql"), folder=folder)
    assert (answer.code, answer.json["applied"]) == (0, ["02_two"]), answer.err
    assert states(application, folder) == ["applied", "applied", "pending"]
    assert psql(application, str(folder / "02_two.rollback.sql")).code == 0
    assert states(application, folder) == ["applied", "pending", "pending"]
    answer = migrations(application, "up", folder=folder)
    assert (answer.code, answer.json["applied"]) == (0, ["02_two", "03_three"]), answer.err
    assert migrations(application, "down", "--yes", "--to", "0", folder=folder).code == 0


def test_an_edited_applied_file_is_noticed(application: Application, folder: Path) -> None:
    assert migrations(application, "up", "--to", "1", folder=folder).code == 0
    with (folder / "01_one.sql").open("a", encoding="utf-8") as file:
        file.write("-- a word more\n")
    for verb in ("up", "down"):
        answer = migrations(application, verb, "--yes", folder=folder)
        assert answer.code == 3
        assert "01_one: edited since" in answer.err
        assert "new NAME" in answer.err
    assert states(application, folder) == ["edited since", "pending", "pending"]
    assert not application.exists("two")


def test_a_gap_a_doubled_number_a_missing_way_back_and_a_missing_file(application: Application, folder: Path) -> None:
    assert migrations(application, "up", folder=folder).code == 0
    (folder / "03_three.sql").rename(folder / "04_three.sql")
    assert "no file has the number 03" in refused(application, folder)
    (folder / "04_three.sql").rename(folder / "02_three.sql")
    assert "Two files have one number: 02_three.sql, 02_two.sql" in refused(application, folder)
    (folder / "02_three.sql").unlink()
    assert "03_three: applied, its file is missing" in refused(application, folder)
    (folder / "02_two.rollback.sql").unlink()
    assert "02_two.sql has no way back" in refused(application, folder)


def refused(application: Application, folder: Path) -> str:
    answer = migrations(application, "up", folder=folder)
    assert answer.code == 3
    return answer.err


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TABLE half (id int); SELEC 1; CREATE TABLE rest (id int)", "syntax error"),
        ("CREATE TABLE half (id int); SELECT * FROM nowhere", "line 2 of 02_two.sql"),
        ("CREATE TABLE half (id int); DO $$ BEGIN RAISE 'decide' USING HINT = 'Do this.'; END $$", "Do this."),
    ],
)
def test_an_error_in_the_middle_leaves_nothing_half_done(
    application: Application, folder: Path, statement: str, said: str
) -> None:
    write(folder, "02_two", statement, "DROP TABLE half")
    answer = migrations(application, "up", folder=folder)
    assert answer.code == 3
    assert said in answer.err
    assert "Nothing of 02_two was kept" in answer.err
    assert "Traceback" not in answer.err
    assert (application.exists("one"), application.exists("half"), application.exists("three")) == (True, False, False)
    assert states(application, folder) == ["applied", "pending", "pending"]
    write(folder, "02_two", "CREATE TABLE two (id int)", "DROP TABLE two")
    assert migrations(application, "up", folder=folder).json["applied"] == ["02_two", "03_three"]


def test_one_killed_in_the_middle_is_repaired_by_running_again(application: Application, folder: Path) -> None:
    write(folder, "02_two", "CREATE TABLE two (id int); SELECT pg_sleep(60)", "DROP TABLE two")
    process = start("up", "--folder", str(folder), module="pipelines.migrations", DATABASE_URL=application.url)
    wait_for(
        application,
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()",
    )
    process.send_signal(signal.SIGKILL)
    process.communicate()
    write(folder, "02_two", "CREATE TABLE two (id int)", "DROP TABLE two")
    answer = migrations(application, "up", folder=folder)
    assert answer.code == 0, answer.err
    assert answer.json["applied"] == ["02_two", "03_three"]


def wait_for(application: Application, question: str) -> None:
    until = time.monotonic() + 30
    while not application.value(question):
        assert time.monotonic() < until, question
        time.sleep(0.05)


def test_a_table_that_is_locked_and_a_second_runner(application: Application, folder: Path) -> None:
    assert migrations(application, "up", "--to", "1", folder=folder).code == 0
    write(folder, "02_two", "ALTER TABLE one ADD two int", "ALTER TABLE one DROP two")
    with psycopg2.connect(application.url) as other, other.cursor() as cursor:
        cursor.execute("SELECT * FROM one")
        answer = migrations(application, "up", folder=folder)
        assert (answer.code, states(application, folder)) == (6, ["applied", "pending", "pending"]), answer.err
    other.close()
    write(folder, "02_two", "SELECT pg_sleep(60)", "SELECT 1")
    process = start("up", "--folder", str(folder), module="pipelines.migrations", DATABASE_URL=application.url)
    wait_for(
        application,
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()",
    )
    assert migrations(application, "up", folder=folder).code == 5
    process.send_signal(signal.SIGTERM)
    assert process.communicate()[0] is not None
    assert process.returncode == 143


def test_a_missing_right_is_named(application: Application, folder: Path) -> None:
    application.execute("DROP ROLE IF EXISTS little; CREATE ROLE little LOGIN")
    url = application.url.replace("postgres:@", "little:@")
    answer = call("up", "--folder", str(folder), module="pipelines.migrations", DATABASE_URL=url)
    application.execute("DROP ROLE little")
    assert url != application.url
    assert answer.code == 3, answer.err
    assert "SQLSTATE 42501 (insufficient privilege)" in answer.err
    assert not application.exists("pipelines_migrations.applied")


def test_calls_that_cannot_be_understood(application: Application, folder: Path) -> None:
    assert call("up", module="pipelines.migrations").code == 2
    assert call("up", module="pipelines.migrations", PGHOST="somewhere").code == 2
    assert migrations(application, "up", "--to", "9", folder=folder).code == 2
    assert migrations(application, "run", "--file", str(folder / "01_one.rollback.sql"), folder=folder).code == 2
    late = migrations(application, "run", "--file", str(folder / "02_two.sql"), folder=folder)
    assert (late.code, "up --to 02" in late.err) == (3, True)
    url = "postgresql://u:very-secret@127.0.0.1:1/db"
    away = call("status", "--folder", str(folder), module="pipelines.migrations", DATABASE_URL=url)
    assert (away.code, "very-secret" in away.out + away.err) == (7, False)


def test_a_new_migration_has_the_next_number_and_runs_as_it_is(application: Application, folder: Path) -> None:
    made = call("new", "add_more", "--folder", str(folder), module="pipelines.migrations")
    assert [Path(line).name for line in made.out.split()] == ["04_add_more.sql", "04_add_more.rollback.sql"]
    assert call("new", "Bad Name", "--folder", str(folder), module="pipelines.migrations").code == 2
    assert migrations(application, "up", folder=folder).code == 0
    assert migrations(application, "down", "--yes", "--to", "0", folder=folder).code == 0
    assert contents(application, "pipelines_migrations.applied") == {"pipelines_migrations.applied": []}
