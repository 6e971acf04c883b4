"""All numbered migrations on one database: there and back on every server, around the move, and beside the application."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from pipelines.templates import demo
from tests.acceptance.test_cases import TEXT_TO_UUID
from tests.acceptance.test_migration_05 import without_places
from tests.acceptance.test_migrations import LINE, ONE_VERSION
from tests.application import Application
from tests.command import ROOT, call, run
from tests.postgres_tools import psql, schema_dump

NAMES = [path.stem for path in sorted((ROOT / "sql").glob("[0-9]*.sql")) if not path.stem.endswith(".rollback")]
PARAMETERS = {"default_business": demo.DEFAULT_BUSINESS, "accept_loss": "on", "take_back_run": "on"}


@pytest.fixture(autouse=True)
def no_role_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Roles outlive the database."""
    yield
    server = request.getfixturevalue("any_server" if "any_server" in request.fixturenames else "server")
    with Application(server) as maintenance:
        if maintenance.rows("SELECT FROM pg_roles WHERE rolname = 'audit_reader'"):
            maintenance.execute("DROP ROLE audit_reader")


def forward(application: Application, name: str) -> None:
    answer = psql(application, f"sql/{name}.sql", **PARAMETERS)
    assert answer.code == 0, answer.err


def back(application: Application, name: str) -> None:
    answer = psql(application, f"sql/{name}.rollback.sql", **PARAMETERS)
    assert answer.code == 0, answer.err


def picture(application: Application) -> tuple[list[str], dict[str, Any]]:
    """The schemas, and the rows of the application by name of column, without the times that a default sets."""
    rows = {}
    for table in ("businesses", "prompt_templates", "templates", "stages"):
        if application.exists(table):
            values = f"to_jsonb(t) - '{{created_at,updated_at}}'::text[] FROM {table} t ORDER BY 1"
            rows[table] = [row for (row,) in application.rows(f"SELECT {values}")]
    return without_places(schema_dump(application, "public", "audit")), rows


def fill(application: Application, generation: str) -> None:
    if generation == "A":
        connection = psycopg2.connect(application.url)
        demo.create(connection, rows=300)
        connection.close()
        return
    application.execute(demo.SCHEMA.read_text(encoding="utf-8"))
    application.execute(
        "INSERT INTO businesses (business_id, api_key, owner_id, business_name) VALUES (md5('1')::uuid, 'k', md5('1')::uuid, %s)",
        (demo.DEFAULT_BUSINESS,),
    )
    application.execute(
        "INSERT INTO prompt_templates (template_id, template_text) SELECT md5('t' || n)::uuid, n FROM generate_series(1, 50) n;"
        "INSERT INTO stages (stage_id, business_id, stage_name, stage_description, stage_type, stage_selection_template_id)"
        " SELECT md5('s' || n)::uuid, md5('1')::uuid, n, 'd', 't', md5('t' || n)::uuid FROM generate_series(1, 50) n;"
        + TEXT_TO_UUID
    )


@pytest.mark.parametrize("generation", ["A", "B"])
def test_all_up_all_down_and_all_up_again_on_every_server(any_url: str, generation: str) -> None:
    with Application(any_url) as application:
        fill(application, generation)
        pictures = [picture(application)]
        for name in NAMES:
            forward(application, name)
            forward(application, name)
            pictures.append(picture(application))
        for name, before in zip(reversed(NAMES), reversed(pictures[:-1]), strict=True):
            back(application, name)
            assert picture(application) == before, name
        for name in NAMES:
            forward(application, name)
        assert picture(application) == pictures[-1]
        back(application, NAMES[4])
        back(application, NAMES[3])


@ONE_VERSION
def test_the_move_between_them_and_05_after_it(demonstration: Application, tmp_path: Path) -> None:
    """02, 03 and 04 come before the move here, 05 after it; a deleted stage's references are references like any other."""
    url = demonstration.url
    demonstration.execute(LINE.format(number=1, name=NAMES[0]))
    up = call("up", "--to", "4", module="pipelines.migrations", DATABASE_URL=url)
    assert up.code == 0, up.err
    gone = demonstration.value("SELECT stage_id FROM stages WHERE stage_selection_template_id LIKE '%-%-%' AND"
                               " stage_selection_template_id NOT LIKE '%-%-%-%' ORDER BY 1 LIMIT 1")  # fmt: skip
    assert demonstration.value("SELECT soft_delete_stage(%s)", (gone,))
    stages = "SELECT to_jsonb(s) FROM stages s ORDER BY stage_id"
    before = demonstration.rows(stages)

    plan = call("plan", "--json", "--default-business", demo.DEFAULT_BUSINESS, DATABASE_URL=url)
    assert (plan.code, plan.json["blockers"]) == (0, []), plan.err
    early = call("up", module="pipelines.migrations", DATABASE_URL=url)
    assert (early.code, "make the move first" in early.err) == (3, True)
    half = run(url, tmp_path, "--until", "copy", "--default-business", demo.DEFAULT_BUSINESS)
    assert half.code == 0, half.err
    early = call("up", module="pipelines.migrations", DATABASE_URL=url)
    assert (early.code, "it is at: copying" in early.err) == (3, True)
    moved = run(url, tmp_path, "--default-business", demo.DEFAULT_BUSINESS)
    assert (moved.code, moved.json["state"]) == (0, "done"), moved.err

    assert demonstration.value("SELECT stage_selection_template_id FROM stages WHERE stage_id = %s", (gone,)) in {
        key for (key,) in demonstration.rows("SELECT template_id::text FROM templates")
    }
    changes = demonstration.value("SELECT count(DISTINCT row_key) FROM pipelines.reference_change")
    assert (
        demonstration.value("SELECT count(*) FROM audit.change WHERE table_name = 'stages' AND operation = 'UPDATE'")
        == changes + 1
    )
    assert demonstration.value("SELECT count(*) FROM audit.change WHERE operation = 'INSERT'") == moved.json["inserted"]

    late = call("up", "--json", module="pipelines.migrations", DATABASE_URL=url)
    assert (late.code, late.json["applied"]) == (0, [NAMES[4]]), late.err
    assert demonstration.value("SELECT count(*) FROM audit.change WHERE operation = 'UPDATE'") == changes + 1, "no line"
    assert demonstration.value("SELECT count(*) FROM living_stages()") == len(before) - 1
    verified = call("verify", "--json", "--report-dir", str(tmp_path), DATABASE_URL=url)
    assert (verified.code, verified.json["gate"]["failed_critical"]) == (0, 0), verified.err
    again = run(url, tmp_path)
    assert (again.code, again.json["rows_written"]) == (0, 0), again.err

    refused = psql(demonstration, f"sql/{NAMES[0]}.rollback.sql", **PARAMETERS)
    assert (refused.code, "Take 05 down first" in refused.err) == (3, True)
    back(demonstration, NAMES[4])
    back(demonstration, NAMES[0])
    assert demonstration.rows(stages) == before
    forward(demonstration, NAMES[0])
    back(demonstration, NAMES[3])


@ONE_VERSION
@pytest.mark.parametrize("name", NAMES[2:])
def test_a_missing_right_is_named_and_nothing_is_half_done(application: Application, name: str) -> None:
    number = NAMES.index(name) + 1
    for earlier in NAMES[: number - 1]:
        application.execute(LINE.format(number=NAMES.index(earlier) + 1, name=earlier))
    application.execute(
        "DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN; GRANT ALL ON SCHEMA pipelines_migrations TO stranger;"
        "GRANT ALL ON pipelines_migrations.applied TO stranger; GRANT SELECT ON stages, templates TO stranger"
    )
    application.execute(f"GRANT CREATE ON DATABASE {application.value('SELECT current_database()')} TO stranger")
    relations = "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = ANY (ARRAY(SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_')) AND relname !~ 'yoyo' ORDER BY 1"
    before = application.rows(relations)
    url = application.url.replace("postgres:@", "stranger:@")
    answer = call("run", "--file", f"sql/{name}.sql", module="pipelines.migrations", DATABASE_URL=url)
    try:
        assert answer.code == 3
        assert "SQLSTATE 42501" in answer.err
        assert application.value("SELECT max(number) FROM pipelines_migrations.applied") == number - 1
        assert application.rows(relations) == before
    finally:
        application.execute("DROP OWNED BY stranger; DROP ROLE stranger")


PROBES = (
    "SELECT template_id, content FROM templates WHERE template_id = md5('t7')::uuid",
    "SELECT count(*) FROM stages WHERE stage_selection_template_id = '" + md5(b"t7").hexdigest() + "'",
    "UPDATE templates SET system_prompt = 'probe' WHERE template_id = md5('t8')::uuid",
    "UPDATE stages SET stage_description = 'probe' WHERE stage_id = md5('s8')::uuid",
)
LONGEST_WAIT = 1.0  # seconds: lock_timeout, and what this machine does beside


@contextmanager
def probed(application: Application) -> Iterator[list[float]]:
    """Queries of the application without a pause. Yields how long each took, in seconds."""
    took: list[float] = []
    done = threading.Event()

    def work() -> None:
        connection = psycopg2.connect(application.url)
        connection.autocommit = True
        cursor = connection.cursor()
        while not done.is_set():
            for probe in PROBES:
                started = time.monotonic()
                cursor.execute(probe)
                took.append(time.monotonic() - started)
        connection.close()

    prober = threading.Thread(target=work)
    prober.start()
    try:
        yield took
    finally:
        done.set()
        prober.join()


@ONE_VERSION
def test_no_query_of_the_application_waits_longer_than_said(application: Application) -> None:
    application.execute(
        "INSERT INTO businesses (business_id, api_key, owner_id, business_name)"
        " VALUES (md5('1')::uuid, 'k', md5('1')::uuid, 'b');"
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
        " SELECT md5('t' || n)::uuid, md5('1')::uuid, n, 't', 'text' FROM generate_series(1, 20000) n;"
        "INSERT INTO stages (stage_id, business_id, stage_name, stage_description, stage_type, stage_selection_template_id)"
        " SELECT md5('s' || n)::uuid, md5('1')::uuid, n, 'd', 't', md5('t' || n)::uuid FROM generate_series(1, 20000) n"
    )
    application.execute(LINE.format(number=1, name=NAMES[0]))
    with probed(application) as took:
        for name in NAMES[1:]:
            forward(application, name)
        for name in reversed(NAMES[1:]):
            back(application, name)
    assert len(took) > 1000
    assert max(took) < LONGEST_WAIT
