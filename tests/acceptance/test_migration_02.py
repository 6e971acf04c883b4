"""Indexes: used where they should be, built beside the application, repaired after a kill, gone without a trace."""

from __future__ import annotations

import signal

import psycopg2
import pytest

from tests.acceptance.test_cases import TEXT_TO_UUID
from tests.acceptance.test_migrations import LINE, wait_for
from tests.application import Application
from tests.command import call, start
from tests.postgres_tools import contents, psql, schema_dump

FORWARD = "sql/02_index_frequent_queries.sql"
BACK = "sql/02_index_frequent_queries.rollback.sql"
KEY = "c4ca4238-a0b9-2382-0dcc-509a6f75849b"  # md5 of 1
QUERIES = {
    "idx_stages_stage_selection_template_id": f"SELECT 1 FROM stages WHERE stage_selection_template_id = '{KEY}'",
    "idx_stages_data_extraction_template_id": f"SELECT 1 FROM stages WHERE data_extraction_template_id = '{KEY}'",
    "idx_stages_response_generation_template_id": f"SELECT 1 FROM stages WHERE response_generation_template_id = '{KEY}'",
    "idx_templates_business_id_template_type": "SELECT template_id, template_name FROM templates"
    f" WHERE business_id = '{KEY}' AND template_type = 'data_extraction'",
}


@pytest.fixture
def filled(application: Application) -> Application:
    """20 businesses, 20,000 templates and stages."""
    application.execute(
        "INSERT INTO businesses (business_id, api_key, owner_id, business_name)"
        " SELECT md5(n::text)::uuid, n, md5(n::text)::uuid, n FROM generate_series(1, 20) n;"
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
        " SELECT md5('t' || n)::uuid, md5((n %% 20 + 1)::text)::uuid, n, (ARRAY['stage_selection', 'data_extraction',"
        " 'response_generation', 'other'])[n / 20 %% 4 + 1], 'text' FROM generate_series(1, 20000) n;"
        "INSERT INTO stages (stage_id, business_id, stage_name, stage_description, stage_type,"
        " stage_selection_template_id, data_extraction_template_id, response_generation_template_id)"
        " SELECT md5('s' || n)::uuid, md5((n %% 20 + 1)::text)::uuid, n, 'd', 't', md5('t' || n)::uuid, md5('t' || n)::uuid,"
        " md5('t' || n)::uuid FROM generate_series(1, 20000) n",
        (),
    )
    application.execute("ANALYZE templates, stages")
    return application


def used(application: Application, query: str) -> str:
    return "\n".join(line for (line,) in application.rows(f"EXPLAIN {query}"))


@pytest.mark.parametrize("generation", ["A", "B"])
def test_up_down_and_up_again_with_the_plans_of_the_queries(filled: Application, generation: str) -> None:
    if generation == "B":
        filled.execute(TEXT_TO_UUID)
        filled.execute("ANALYZE stages")
    before, rows = schema_dump(filled), contents(filled, "templates", "stages")
    for query in QUERIES.values():
        if " stages " in query:
            assert "Seq Scan" in used(filled, query)

    assert psql(filled, FORWARD).code == 0
    after = schema_dump(filled)
    for index, query in QUERIES.items():
        assert index in used(filled, query)
    assert psql(filled, FORWARD).code == 0
    assert schema_dump(filled) == after, "applied twice it has no effect"
    assert psql(filled, BACK).code == 0
    assert psql(filled, BACK).code == 0
    assert schema_dump(filled) == before
    assert psql(filled, FORWARD).code == 0
    assert (schema_dump(filled), contents(filled, "templates", "stages")) == (after, rows)


def test_killed_while_it_waits_it_is_repaired_by_running_again(filled: Application) -> None:
    filled.execute(LINE.format(number=1, name="01_cleanup_template_tables"))
    other = psycopg2.connect(filled.url)
    other.cursor().execute("UPDATE stages SET stage_name = 'busy' WHERE stage_name = '1'")
    process = start("up", module="pipelines.migrations", DATABASE_URL=filled.url)
    wait_for(filled, "SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    assert filled.value("SELECT count(*) FROM stages WHERE stage_name = '2'") == 1, "readers go on"
    assert filled.execute("UPDATE stages SET stage_name = 'two' WHERE stage_name = '2'") == 1, "and writers"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(filled, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'pipelines')")
    assert filled.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 1
    other.rollback()
    other.close()

    answer = call("up", "--to", "2", "--json", module="pipelines.migrations", DATABASE_URL=filled.url)

    assert (answer.code, answer.json["applied"]) == (0, ["02_index_frequent_queries"]), answer.err
    assert filled.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    assert "idx_stages_data_extraction_template_id" in used(filled, QUERIES["idx_stages_data_extraction_template_id"])
    assert "WARNING" not in answer.err
    back = call("down", "--yes", "--json", module="pipelines.migrations", DATABASE_URL=filled.url)
    assert (back.code, back.json["taken_back"]) == (0, ["02_index_frequent_queries"]), back.err
    assert not filled.exists("idx_stages_data_extraction_template_id")


def test_a_missing_right_is_named_and_nothing_is_said_to_be_applied(filled: Application) -> None:
    filled.execute(LINE.format(number=1, name="01_cleanup_template_tables"))
    filled.execute(
        "DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN;"
        "GRANT ALL ON SCHEMA pipelines_migrations TO stranger; GRANT ALL ON pipelines_migrations.applied TO stranger;"
        "GRANT SELECT ON stages, templates TO stranger"
    )
    filled.execute(f"GRANT CREATE ON DATABASE {filled.value('SELECT current_database()')} TO stranger")
    url = filled.url.replace("postgres:@", "stranger:@")
    answer = call("up", module="pipelines.migrations", DATABASE_URL=url)
    filled.execute("DROP OWNED BY stranger; DROP ROLE stranger")
    assert answer.code == 3
    assert "SQLSTATE 42501" in answer.err
    assert filled.rows("SELECT number FROM pipelines_migrations.applied") == [(1,)]
