"""Soft delete: what is deleted is out of sight and comes back; taken back, nothing lives again by accident."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from tests.acceptance.test_cases import KEYS_TO_TEMPLATES, TEXT_TO_UUID
from tests.acceptance.test_migrations import LINE, ONE_VERSION, wait_for
from tests.application import Application
from tests.command import call, start
from tests.postgres_tools import contents, psql, schema_dump

FORWARD = "sql/03_soft_delete.sql"
BACK = "sql/03_soft_delete.rollback.sql"
TABLES = ("businesses", "templates", "stages")
T1, T2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def filled(application: Application) -> Application:
    """Two templates, three stages: two refer to the first template, one to none."""
    business = application.business(1)
    for key in (T1, T2):
        application.execute(
            "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
            " VALUES (%s, %s, 'n', 't', 'T')",
            (key, business),
        )
    application.stage(1, business, T1)
    application.stage(2, business, None, None, T1)
    application.stage(3, business)
    return application


def to_generation(application: Application, generation: str) -> None:
    """A: varchar. B: uuid. K: uuid with foreign keys."""
    if generation != "A":
        application.execute(TEXT_TO_UUID)
    if generation == "K":
        application.execute(KEYS_TO_TEMPLATES)


def call_of(application: Application) -> Callable[..., bool]:
    def function(name: str, key: str) -> bool:
        return application.value(f"SELECT {name}(%s)", (key,))

    return function


@pytest.mark.parametrize("generation", ["A", "B", "K"])
def test_up_down_and_up_again(filled: Application, generation: str) -> None:
    to_generation(filled, generation)
    before, rows = schema_dump(filled), contents(filled, *TABLES)
    for _ in range(2):
        answer = psql(filled, FORWARD)
        assert answer.code == 0, answer.err
    after, with_column = schema_dump(filled), contents(filled, *TABLES)
    assert psql(filled, FORWARD).code == 0
    assert schema_dump(filled) == after, "applied twice it has no effect"
    for _ in range(2):
        assert psql(filled, BACK).code == 0
    assert (schema_dump(filled), contents(filled, *TABLES)) == (before, rows)
    assert psql(filled, FORWARD).code == 0
    assert (schema_dump(filled), contents(filled, *TABLES)) == (after, with_column)


@ONE_VERSION
@pytest.mark.parametrize("generation", ["A", "B", "K"])
def test_what_is_deleted_is_out_of_sight_until_it_is_restored(filled: Application, generation: str) -> None:
    to_generation(filled, generation)
    assert psql(filled, FORWARD).code == 0
    do = call_of(filled)
    one, two = (row[0] for row in filled.rows("SELECT stage_id::text FROM stages ORDER BY 1 LIMIT 2"))

    with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="refers to template"):
        do("soft_delete_template", T1)
    assert (do("soft_delete_stage", one), do("soft_delete_stage", one)) == (True, False)
    with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="response_generation_template_id"):
        do("soft_delete_template", T1)
    assert do("soft_delete_stage", two)
    assert (do("soft_delete_template", T1), do("soft_delete_template", T1)) == (True, False)
    assert filled.rows("SELECT template_id::text FROM living_templates()") == [(T2,)]
    assert filled.value("SELECT count(*) FROM living_stages()") == 1

    with pytest.raises(psycopg2.errors.ForeignKeyViolation, match=T1):
        do("restore_stage", one)
    assert (do("restore_template", T1), do("restore_template", T1)) == (True, False)
    assert (do("restore_stage", one), do("restore_stage", one)) == (True, False)
    assert filled.value("SELECT count(*) FROM living_stages()") == 2

    filled.execute("DELETE FROM businesses")
    assert [filled.value(f"SELECT count(*) FROM {table}") for table in ("templates", "stages")] == [0, 0]


def test_the_living_rows_are_found_by_the_indexes_of_the_table(filled: Application) -> None:
    filled.execute(
        "INSERT INTO stages (stage_id, business_id, stage_name, stage_description, stage_type)"
        " SELECT md5(n::text)::uuid, business_id, n, 'd', 't' FROM generate_series(1, 5000) n, businesses; ANALYZE stages"
    )
    assert psql(filled, FORWARD).code == 0
    plan = filled.rows("EXPLAIN SELECT * FROM living_stages() WHERE stage_id = md5('7')::uuid")
    assert "stages_pkey" in str(plan)
    filled.execute("UPDATE stages SET deleted_at = now() WHERE stage_name = '8'; ANALYZE stages")
    trash = filled.rows(
        "EXPLAIN SELECT * FROM stages WHERE deleted_at IS NOT NULL AND business_id = %s ORDER BY deleted_at",
        (filled.value("SELECT business_id FROM businesses"),),
    )
    assert "idx_stages_deleted_at" in str(trash)


@ONE_VERSION
def test_a_row_that_is_deleted_needs_a_word_before_it_lives_again(filled: Application) -> None:
    filled.execute(LINE.format(number=1, name="01_cleanup_template_tables"))
    filled.execute(LINE.format(number=2, name="02_index_frequent_queries"))
    before = schema_dump(filled)
    up = call("up", "--to", "3", "--json", module="pipelines.migrations", DATABASE_URL=filled.url)
    assert (up.code, up.json["applied"]) == (0, ["03_soft_delete"]), up.err
    filled.value("SELECT soft_delete_template(%s)", (T2,))
    catalog = filled.catalog()

    refused = call("down", "--yes", module="pipelines.migrations", DATABASE_URL=filled.url)

    assert refused.code == 3
    assert "1 rows of templates are deleted softly" in refused.err
    assert "--accept-loss" in refused.err
    assert filled.catalog() == catalog
    assert psql(filled, BACK).code == 3
    back = call("down", "--yes", "--accept-loss", "--json", module="pipelines.migrations", DATABASE_URL=filled.url)
    assert (back.code, back.json["taken_back"]) == (0, ["03_soft_delete"]), back.err
    assert schema_dump(filled) == before
    assert filled.value("SELECT count(*) FROM templates") == 2


@ONE_VERSION
def test_a_column_that_was_there_before_stays(filled: Application) -> None:
    filled.execute("ALTER TABLE templates ADD deleted_at timestamptz")
    filled.execute("UPDATE templates SET deleted_at = now() WHERE template_id = %s", (T1,))
    before, rows = schema_dump(filled), contents(filled, *TABLES)
    assert psql(filled, FORWARD).code == 0
    assert filled.rows("SELECT template_id::text FROM living_templates()") == [(T2,)]
    assert psql(filled, BACK).code == 0
    assert (schema_dump(filled), contents(filled, *TABLES)) == (before, rows)

    filled.execute("ALTER TABLE templates ALTER deleted_at TYPE date")
    other = schema_dump(filled)
    answer = psql(filled, FORWARD)
    assert answer.code == 3
    assert "templates.deleted_at is there and is date" in answer.err
    assert schema_dump(filled) == other


@pytest.mark.parametrize("way", ["kill -9", "pg_terminate_backend"])
def test_killed_in_the_middle_it_is_repaired_by_running_again(filled: Application, way: str) -> None:
    for number, name in ((1, "01_cleanup_template_tables"), (2, "02_index_frequent_queries")):
        filled.execute(LINE.format(number=number, name=name))
    other = psycopg2.connect(filled.url)
    other.set_session(isolation_level="REPEATABLE READ")
    other.cursor().execute("SELECT 1")  # the index waits for this snapshot to end
    process = start("up", "--to", "3", module="pipelines.migrations", DATABASE_URL=filled.url)
    wait_for(filled, "SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    assert filled.execute("UPDATE stages SET stage_name = 'new'") == 3, "writers go on"
    if way == "kill -9":
        process.send_signal(signal.SIGKILL)
        process.communicate()
    else:
        filled.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pipelines'"
            " AND query LIKE '%INDEX CONCURRENTLY%'"
        )
        assert process.communicate()[0] is not None
        assert process.returncode == 7
    wait_for(filled, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'pipelines')")
    other.rollback()
    other.close()

    answer = call("up", "--to", "3", "--json", module="pipelines.migrations", DATABASE_URL=filled.url)

    assert (answer.code, answer.json["applied"]) == (0, ["03_soft_delete"]), answer.err
    assert filled.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    assert filled.value("SELECT count(*) FROM living_stages()") == 3


@ONE_VERSION
def test_an_application_outside_of_public(filled: Application, tmp_path: Path) -> None:
    filled.execute("CREATE SCHEMA app")
    for table in TABLES:
        filled.execute(f"ALTER TABLE {table} SET SCHEMA app")
    assert "--schema NAME" in psql(filled, FORWARD).err
    for number, name in ((1, "01_cleanup_template_tables"), (2, "02_index_frequent_queries")):
        filled.execute(LINE.format(number=number, name=name))
    answer = call("up", "--to", "3", "--schema", "app", module="pipelines.migrations", DATABASE_URL=filled.url)
    assert answer.code == 0, answer.err
    assert filled.value("SELECT app.soft_delete_template(%s)", (T2,)) is True
    assert filled.value("SELECT count(*) FROM app.living_templates()") == 1
    back = call(
        "down", "--yes", "--schema", "app", "--accept-loss", module="pipelines.migrations", DATABASE_URL=filled.url
    )
    assert back.code == 0, back.err
