"""The template move in plain SQL: the same as the pipeline, row by row, and back again."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from pipelines.templates import demo
from tests.acceptance.test_cases import CASES, Case, found_rows, references_of
from tests.acceptance.test_migrations import wait_for
from tests.application import Application
from tests.command import ROOT, call, run, start
from tests.conftest import empty_database
from tests.oracle import violations
from tests.postgres_tools import contents, psql, schema_dump

FORWARD = "sql/01_cleanup_template_tables.sql"
BACK = "sql/01_cleanup_template_tables.rollback.sql"
TABLES = ("businesses", "prompt_templates", "templates", "stages")
DEFAULT = demo.DEFAULT_BUSINESS

# What a person can only tell the pipeline.
BY_PIPELINE_ONLY = ("--owners", "--on-conflict")
COMPARABLE = [case for case in CASES if not set(BY_PIPELINE_ONLY) & set(case.arguments)]


@pytest.fixture
def application(application: Application) -> Application:
    for number in (1, 2, 3):
        application.business(number)
    return application


def execute(application: Application, file: str, arguments: tuple[str, ...] = ()) -> None:
    """The file in one call, as psql does it, with the pipeline's arguments as settings."""
    with psycopg2.connect(application.url) as connection, connection.cursor() as cursor:
        if "--default-business" in arguments:
            given = arguments[arguments.index("--default-business") + 1]
            cursor.execute("SELECT set_config('pipelines.default_business', %s, false)", (given,))
        if "--allow-dangling" in arguments:
            cursor.execute("SET pipelines.allow_dangling = on")
        cursor.execute((ROOT / file).read_text(encoding="utf-8"))
    connection.close()


@pytest.mark.parametrize("case", COMPARABLE, ids=lambda case: case.name)
def test_every_case_ends_as_with_the_pipeline_or_changes_nothing_and_there_is_a_way_back(
    application: Application, case: Case
) -> None:
    case.arrange(application)
    columns = [name for (name,) in application.rows(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'stages'::regclass AND NOT attisdropped"
        " AND attname LIKE %s ORDER BY attnum", ("%\\_template\\_id",)
    )]  # fmt: skip
    application.snapshot()
    before, catalog = schema_dump(application), application.catalog()
    rows = contents(application, *TABLES)

    if case.code != 0:
        with pytest.raises(psycopg2.Error):
            execute(application, FORWARD, case.arguments)
        assert (application.catalog(), contents(application, *TABLES)) == (catalog, rows), "nothing was changed"
        return
    execute(application, FORWARD, case.arguments)

    if case.rows:
        assert sorted(found_rows(application)) == sorted(case.rows)
    for number, expected in case.stages.items():
        old = {value: references_of(application, number, columns[:3])[at] for at, value in enumerate(expected)}
        assert list(old.values()) == [successor(application, value) for value in old]
    assert not application.exists("public.prompt_templates")
    execute(application, BACK)
    assert contents(application, *TABLES) == rows
    assert schema_dump(application) == before


def successor(application: Application, expected: str | None) -> str | None:
    if expected is None or "@" not in expected:
        return expected
    source, _, number = expected.rpartition("@")
    return application.value(
        "SELECT target_id::text FROM pipelines.id_map WHERE source_id = %s AND owner_id = %s::uuid",
        (source, f"00000000-0000-0000-0000-{int(number):012d}"),
    )


def test_the_journal_is_the_pipelines_own() -> None:
    parts = re.split(
        r"^-- name: \w+\n", (ROOT / "sql" / "table_move" / "journal.sql").read_text(encoding="utf-8"), flags=re.M
    )
    created = re.sub(r"\A(--.*\n)+", "", parts[1])
    ours = (ROOT / FORWARD).read_text(encoding="utf-8")
    assert " ".join(created.split()) in " ".join(ours.split())


@pytest.fixture
def pair(server: str) -> Iterator[tuple[Application, Application]]:
    """Two databases with the same 10,000 rows."""
    with empty_database(server) as one:
        connection = psycopg2.connect(one)
        demo.create(connection, rows=10_000)
        connection.close()
        name = psycopg2.extensions.parse_dsn(one)["dbname"]
        with (
            empty_database(server, template=name) as other,
            Application(one) as by_psql,
            Application(other) as by_pipeline,
        ):
            yield by_psql, by_pipeline


EQUAL = {
    "templates": "SELECT template_id, business_id, template_name, template_type, content, system_prompt FROM templates",
    "the map": "SELECT move, source_id, owner_id, target_id, disposition, owner_rule, loaded, kept_target,"
    " source_hash::text, target_hash::text FROM pipelines.id_map",
    "stages": "SELECT * FROM stages",
    "pre-images": "SELECT move, table_name, row_key, column_name, old_value, new_value FROM pipelines.reference_change",
    "released keys": "SELECT move, table_name, constraint_name, definition, comment, validated FROM pipelines.foreign_key",
    "the move": "SELECT move, source_schema, source_table, milestone, default_owner FROM pipelines.move",
}


def test_psql_and_the_pipeline_end_equal_and_know_of_each_other(
    pair: tuple[Application, Application], tmp_path: Path
) -> None:
    by_psql, by_pipeline = pair
    assert contents(by_psql, "prompt_templates", "stages") == contents(by_pipeline, "prompt_templates", "stages")
    by_psql.snapshot()
    default = by_psql.value("SELECT business_id FROM businesses WHERE business_name = %s", (DEFAULT,))

    forward = psql(by_psql, FORWARD, default_business=DEFAULT)
    moved = run(by_pipeline.url, tmp_path, "--default-business", DEFAULT)

    assert (forward.code, moved.code) == (0, 0), forward.err + moved.err
    for what, statement in EQUAL.items():
        one, other = set(by_psql.rows(statement)), set(by_pipeline.rows(statement))
        assert (one - other, other - one) == (set(), set()), what
    assert violations(by_psql, default) == {}
    status = call("status", "--json", DATABASE_URL=by_psql.url)
    assert (status.code, status.json["state"], status.json["source_rows"]) == (0, "done", 10_000)
    verified = call("verify", "--json", "--report-dir", str(tmp_path / "verify"), DATABASE_URL=by_psql.url)
    assert (verified.code, verified.json["gate"]["failed_critical"]) == (0, 0), verified.err
    again = run(by_psql.url, tmp_path / "again")
    assert (again.code, again.json["rows_written"]) == (0, 0), again.err
    for application in pair:
        places = application.places()
        answer = psql(application, FORWARD, default_business=DEFAULT)
        assert answer.code == 0, answer.err
        assert "nothing is left to do" in answer.err
        now = application.places()
        assert {name: now[name] for name in places} == places
        back = psql(application, BACK, **({} if application is by_psql else {"take_back_run": "on"}))
        assert back.code == 0, back.err
    assert contents(by_psql, "prompt_templates") == contents(by_pipeline, "prompt_templates")
    assert by_psql.rows("SELECT * FROM stages ORDER BY 1") == by_psql.rows("SELECT * FROM before.stages ORDER BY 1")


def test_edits_are_carried_back_and_what_has_no_place_needs_a_word(application: Application) -> None:
    for key in ("a", "b"):
        application.template(key)
    application.stage(1, application.value("SELECT max(business_id::text) FROM businesses"), "a")
    application.stage(2, application.value("SELECT min(business_id::text) FROM businesses"), "a", "a")
    execute(application, FORWARD, ("--default-business", "Business 1"))
    edit = (
        "UPDATE templates t SET content = 'edited' FROM pipelines.id_map m WHERE t.template_id = m.target_id"
        " AND m.source_id = 'a' AND m.owner_rule {} 'copy'"
    )
    application.execute(edit.format("="))
    application.execute(edit.format("<>"))
    rows = contents(application, "templates", "stages")

    answer = psql(application, BACK)

    assert answer.code == 3
    assert "1 edited copies of other businesses" in answer.err
    assert "pipelines.accept_loss=on" in answer.err
    assert contents(application, "templates", "stages") == rows
    assert psql(application, BACK, accept_loss="on").code == 0
    assert application.rows("SELECT template_id, template_text FROM prompt_templates ORDER BY 1") == [
        ("a", "edited"),
        ("b", "Hello {name}"),
    ]
    assert application.value("SELECT count(*) FROM templates") == 1
    assert set(application.rows("SELECT stage_selection_template_id FROM stages")) == {("a",)}


def test_a_view_on_the_old_table_is_named_and_nothing_is_changed(application: Application) -> None:
    application.template("a")
    application.execute("CREATE VIEW names AS SELECT template_name FROM prompt_templates")
    places = application.places()
    answer = psql(application, FORWARD, default_business="Business 1")
    assert answer.code == 3
    assert "view public.names" in answer.err
    assert application.places() == places


def test_settings_of_the_session_make_no_difference(application: Application) -> None:
    application.template("a", template_name=" \t\r\n", description="\n first\rsecond")
    connection = psycopg2.connect(application.url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            "SET standard_conforming_strings = off; SET search_path = nowhere; SET DateStyle = 'German';"
            " SET bytea_output = 'escape'; SET pipelines.default_business = 'Business 1'"
        )
        cursor.execute((ROOT / FORWARD).read_text(encoding="utf-8"))
        cursor.execute("SELECT current_setting('search_path')")
        assert cursor.fetchone()[0] == "nowhere"
    connection.close()
    assert application.value("SELECT template_name FROM templates") == "first"
    assert application.value(
        "SELECT target_hash = sha256('5:first15:data_extraction12:Hello {name}') FROM pipelines.id_map"
    )


def test_one_killed_in_the_middle_leaves_nothing_and_is_repaired_by_running_again(
    demonstration: Application, tmp_path: Path
) -> None:
    demonstration.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END $$;"
        "CREATE TRIGGER slow BEFORE INSERT ON templates FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    rows = contents(demonstration, *TABLES)
    process = start(
        "up", "--to", "1", "--default-business", DEFAULT, module="pipelines.migrations", DATABASE_URL=demonstration.url
    )
    wait_for(
        demonstration,
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND pid <> pg_backend_pid()",
    )
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(demonstration, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'pipelines')")
    assert contents(demonstration, *TABLES) == rows
    assert not demonstration.exists("pipelines.run")
    demonstration.execute("DROP TRIGGER slow ON templates")

    again = call(
        "up", "--to", "1", "--default-business", DEFAULT, "--json",
        module="pipelines.migrations", DATABASE_URL=demonstration.url,
    )  # fmt: skip

    assert (again.code, again.json["applied"]) == (0, ["01_cleanup_template_tables"]), again.err
    assert call("status", "--json", DATABASE_URL=demonstration.url).json["state"] == "done"
    back = call("down", "--yes", "--to", "0", module="pipelines.migrations", DATABASE_URL=demonstration.url)
    assert back.code == 0, back.err
    demonstration.execute("DROP FUNCTION slow()")
    assert contents(demonstration, *TABLES) == rows
    assert run(demonstration.url, tmp_path, "--until", "copy", "--default-business", DEFAULT).code == 0


def test_an_application_outside_of_public(application: Application) -> None:
    application.execute("CREATE SCHEMA app")
    for table in TABLES:
        application.execute(f"ALTER TABLE {table} SET SCHEMA app")
    application.execute("INSERT INTO app.prompt_templates (template_id, template_text) VALUES ('a', 'T')")
    before = application.rows("SELECT * FROM app.prompt_templates")
    assert psql(application, FORWARD, default_business="Business 2").code == 3
    answer = psql(application, FORWARD, default_business="Business 2", schema="app")
    assert answer.code == 0, answer.err
    assert application.rows("SELECT move, source_id, owner_rule FROM pipelines.id_map") == [
        ("templates@app", "a", "default")
    ]
    status = call("status", "--json", "--schema", "app", DATABASE_URL=application.url)
    assert (status.code, status.json["state"]) == (0, "done")
    assert psql(application, BACK, schema="app").code == 0
    assert application.rows("SELECT * FROM app.prompt_templates") == before


def test_a_reader_of_the_old_table_makes_it_give_up_in_time(application: Application) -> None:
    application.template("a")
    other = psycopg2.connect(application.url)
    other.cursor().execute("SELECT * FROM prompt_templates")
    answer = psql(application, FORWARD, default_business="Business 1")
    other.close()
    assert answer.code == 3
    assert "was not to be had within 500ms" in answer.err
    assert not application.exists("pipelines.run")


ODD_TYPES = {
    "old id uuid": "ALTER TABLE prompt_templates ALTER template_id TYPE uuid USING template_id::uuid",
    "old type enum": "CREATE TYPE kind AS ENUM ('stage_selection', 'data_extraction');"
    "ALTER TABLE prompt_templates ALTER template_type DROP DEFAULT, ALTER template_type TYPE kind USING template_type::kind",
    "old description jsonb": "ALTER TABLE prompt_templates ALTER description TYPE jsonb USING to_jsonb(description)",
    "new type enum": "CREATE TYPE kind AS ENUM ('stage_selection', 'data_extraction');"
    "ALTER TABLE templates ALTER template_type TYPE kind USING template_type::kind",
}


@pytest.mark.parametrize("odd", ODD_TYPES)
def test_types_that_the_pipeline_carries_are_carried_by_psql_there_and_back(application: Application, odd: str) -> None:
    first, second = (f"0000000{n}-aaaa-4aaa-8aaa-aaaaaaaaaaaa" for n in (1, 2))
    application.template(first, "one", template_type="data_extraction", description="words")
    application.template(second, "two", template_name=None, template_type=None, description="first\nsecond")
    application.execute(ODD_TYPES[odd])
    rows = contents(application, "prompt_templates")

    execute(application, FORWARD, ("--default-business", "Business 1"))
    assert application.rows("SELECT template_id::text, template_type::text, content FROM templates ORDER BY 1") == [
        (first, "data_extraction", "one"),
        (second, "stage_selection", "two"),
    ]
    application.execute("UPDATE templates SET template_type = 'stage_selection' WHERE content = 'one'")
    execute(application, BACK)

    assert application.rows("SELECT template_type::text FROM prompt_templates WHERE template_text = 'one'") == [
        ("stage_selection",)
    ]
    application.execute("UPDATE prompt_templates SET template_type = 'data_extraction' WHERE template_text = 'one'")
    assert contents(application, "prompt_templates") == rows


def test_no_owner_is_suggested_where_a_person_has_to_decide(application: Application) -> None:
    application.template("alone", "text")
    with pytest.raises(psycopg2.Error) as refused:
        execute(application, FORWARD)
    assert "have no owner" in str(refused.value)
    assert not re.search(r"00000000-0000-0000-0000-00000000000\d", str(refused.value)), (
        "which tenant is for a person to say"
    )
