"""The audit log: every change with who, when and what; read by one role and written by none; gone without a trace."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from tests.acceptance.test_cases import TEXT_TO_UUID
from tests.acceptance.test_migrations import LINE, ONE_VERSION, wait_for
from tests.application import Application
from tests.command import call, start
from tests.conftest import empty_database
from tests.postgres_tools import contents, psql, schema_dump

FORWARD = "sql/04_audit_log.sql"
BACK = "sql/04_audit_log.rollback.sql"
TABLES = ("businesses", "templates", "stages")
T1 = "11111111-1111-4111-8111-111111111111"
LINES = "SELECT operation, table_name, row_key::text, old_values, new_values FROM audit.change ORDER BY change_id"


@pytest.fixture
def filled(application: Application) -> Iterator[Application]:
    business = application.business(1)
    application.execute(
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
        " VALUES (%s, %s, 'n', 't', 'T')",
        (T1, business),
    )
    application.stage(1, business, T1)
    application.stage(2, business)
    yield application
    if role_is_there(application):  # roles outlive the database
        application.execute("DROP OWNED BY audit_reader; DROP ROLE audit_reader")


def up(application: Application, **settings: str) -> str:
    answer = psql(application, FORWARD, **settings)
    assert answer.code == 0, answer.err
    return answer.err


def role_is_there(application: Application) -> bool:
    return application.value("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'audit_reader')")


@pytest.mark.parametrize("generation", ["A", "B"])
def test_up_down_and_up_again(filled: Application, generation: str) -> None:
    if generation == "B":
        filled.execute(TEXT_TO_UUID)
    before, rows = schema_dump(filled, "public", "audit"), contents(filled, *TABLES)
    up(filled)
    after = schema_dump(filled, "public", "audit")
    assert "nothing is left to do" in up(filled)
    assert schema_dump(filled, "public", "audit") == after, "applied twice it has no effect"
    assert role_is_there(filled)
    assert psql(filled, BACK).code == 0
    assert "nothing is left to do" in psql(filled, BACK).err
    assert (schema_dump(filled, "public", "audit"), role_is_there(filled)) == (before, False)
    up(filled)
    assert (schema_dump(filled, "public", "audit"), contents(filled, *TABLES)) == (after, rows)
    assert psql(filled, BACK).code == 0


def test_every_change_leaves_who_when_and_what(filled: Application) -> None:
    up(filled)
    one, two = (key for (key,) in filled.rows("SELECT stage_id::text FROM stages ORDER BY 1"))
    filled.execute("UPDATE stages SET stage_name = 'new' || stage_id, stage_type = 't'")
    filled.execute("UPDATE stages SET stage_name = stage_name")
    filled.execute("DELETE FROM stages WHERE stage_id = %s", (two,))
    filled.execute(
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
        " SELECT md5('2')::uuid, business_id, 'n2', 't', 'T2' FROM businesses"
    )
    lines = filled.rows(LINES)
    assert sorted(lines[:2]) == [
        ("UPDATE", "stages", key, {"stage_name": "n"}, {"stage_name": f"new{key}"}) for key in (one, two)
    ]
    assert [line[:2] for line in lines[2:]] == [("DELETE", "stages"), ("INSERT", "templates")]
    assert (lines[2][2], lines[2][3]["stage_name"], lines[2][4]) == (two, f"new{two}", None)
    assert (lines[3][3], lines[3][4]["content"]) == (None, "T2")

    filled.execute("DELETE FROM businesses")
    assert sorted(line[:2] for line in filled.rows(LINES)[4:]) == [("DELETE", "stages")] + [("DELETE", "templates")] * 2
    filled.execute("TRUNCATE stages")
    assert filled.rows(LINES)[-1] == ("TRUNCATE", "stages", None, None, None)


def test_a_changed_key_leaves_two_lines_and_a_column_that_comes_or_goes_is_no_matter(filled: Application) -> None:
    up(filled)
    filled.execute("UPDATE templates SET template_id = md5('other')::uuid, content = 'U'")
    lines = {line[2]: line for line in filled.rows(LINES)}
    assert (lines[T1][3]["content"], lines[T1][4]) == ("T", None)
    (new,) = set(lines) - {T1}
    assert (lines[new][3], lines[new][4]["content"]) == (None, "U")
    filled.execute("ALTER TABLE stages ADD more text")
    filled.execute("UPDATE stages SET more = 'm'")
    filled.execute("ALTER TABLE stages DROP stage_type")
    filled.execute("UPDATE stages SET more = 'n'")
    assert [line[3:] for line in filled.rows(LINES)][-4:] == [({"more": None}, {"more": "m"})] * 2 + [
        ({"more": "m"}, {"more": "n"})
    ] * 2


@ONE_VERSION
def test_it_knows_the_session_the_role_the_application_and_its_user(filled: Application) -> None:
    up(filled)
    filled.execute(
        "CREATE ROLE writer LOGIN; CREATE ROLE worker; GRANT worker TO writer;"
        "GRANT SELECT, UPDATE ON stages TO worker; GRANT USAGE ON SCHEMA public TO worker"
    )
    try:
        with psycopg2.connect(filled.url.replace("postgres:@", "writer:@"), application_name="shop") as session:
            cursor = session.cursor()
            cursor.execute("SET ROLE worker; SET LOCAL audit.actor = 'user 42'; UPDATE stages SET stage_type = 'x'")
            cursor.execute("SELECT pg_current_xact_id()::text")
            transaction = cursor.fetchone()[0]
        session.close()
        assert filled.rows(
            "SELECT DISTINCT session_role, set_role, actor, application_name, transaction_id::text,"
            " clock_timestamp() - changed_at BETWEEN interval '0' AND interval '1 minute' FROM audit.change"
        ) == [("writer", "worker", "user 42", "shop", transaction, True)]
    finally:
        filled.execute("DROP OWNED BY writer, worker; DROP ROLE writer, worker")
    assert psql(filled, BACK, accept_loss="on").code == 0


@ONE_VERSION
def test_one_role_reads_it_and_none_writes_it(filled: Application) -> None:
    up(filled)
    filled.execute("UPDATE stages SET stage_type = 'x'")
    filled.execute("CREATE ROLE somebody; CREATE ROLE reader; GRANT audit_reader TO reader")
    try:
        assert refusals(filled, "reader") == {
            "INSERT",
            "UPDATE",
            "DELETE",
            "TRUNCATE",
            "partition",
            "add_partitions",
            "stages",
            "forge",
        }
        assert refusals(filled, "somebody") == {
            "SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "partition", "add_partitions", "stages", "forge",
        }  # fmt: skip
    finally:
        filled.execute("DROP OWNED BY somebody, reader; DROP ROLE somebody, reader")
    assert psql(filled, BACK, accept_loss="on").code == 0


def refusals(application: Application, role: str) -> set[str]:
    """What the role may not do."""
    tries = {
        "SELECT": "SELECT * FROM audit.change",
        "INSERT": "INSERT INTO audit.change (table_schema, table_name, operation) VALUES ('a', 'b', 'INSERT')",
        "UPDATE": "UPDATE audit.change SET actor = 'nobody'",
        "DELETE": "DELETE FROM audit.change",
        "TRUNCATE": "TRUNCATE audit.change",
        "partition": "SELECT * FROM audit.change_default",
        "add_partitions": "SELECT audit.add_partitions(12)",
        "stages": "SELECT * FROM stages",
        "forge": "CREATE TEMP TABLE stages (stage_id uuid); CREATE TRIGGER t AFTER INSERT ON pg_temp.stages"
        " REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION audit.record_change('stage_id')",
    }
    refused = set()
    for name, statement in tries.items():
        try:
            application.execute(f"BEGIN; SET LOCAL ROLE {role}; {statement}")
        except psycopg2.errors.InsufficientPrivilege:
            refused.add(name)
        application.execute("ROLLBACK")
    return refused


@ONE_VERSION
def test_the_role_stays_as_long_as_another_database_or_a_member_needs_it(filled: Application, server: str) -> None:
    with empty_database(server, template=filled.value("SELECT 'template1'")) as url, Application(url) as second:
        second.execute(
            "CREATE TABLE stages (stage_id uuid PRIMARY KEY); CREATE TABLE templates (template_id uuid PRIMARY KEY)"
        )
        up(filled)
        up(second)
        assert psql(filled, BACK).code == 0
        assert role_is_there(filled)
        assert second.value("SELECT has_table_privilege('audit_reader', 'audit.change', 'SELECT')")
        up(filled)
        assert psql(second, BACK).code == 0
        assert role_is_there(filled)
        filled.execute("CREATE ROLE reader; GRANT audit_reader TO reader")
        assert psql(filled, BACK).code == 0
        assert role_is_there(filled)
        filled.execute("DROP ROLE reader; DROP ROLE audit_reader; CREATE ROLE audit_reader")
        up(filled)
        assert psql(filled, BACK).code == 0
        assert role_is_there(filled), "somebody else made it"
        filled.execute("DROP ROLE audit_reader")


def test_who_may_not_make_roles_gets_the_log_and_is_told(filled: Application) -> None:
    filled.execute("CREATE ROLE owner LOGIN; ALTER SCHEMA public OWNER TO owner")
    for table in TABLES:
        filled.execute(f"ALTER TABLE {table} OWNER TO owner")
    filled.execute(f"GRANT CREATE ON DATABASE {filled.value('SELECT current_database()')} TO owner")
    with Application(filled.url.replace("postgres:@", "owner:@")) as owner:
        said = up(owner)
        assert "GRANT SELECT ON audit.change TO audit_reader" in said
        owner.execute("UPDATE stages SET stage_type = 'x'")
        assert owner.value("SELECT count(*) FROM audit.change") == 2
        assert psql(owner, BACK, accept_loss="on").code == 0
    filled.execute("REASSIGN OWNED BY owner TO postgres; DROP OWNED BY owner; DROP ROLE owner")


@ONE_VERSION
def test_months_come_and_take_their_lines_out_of_the_default_partition(filled: Application) -> None:
    up(filled)
    partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit.change'::regclass"
    assert filled.value(partitions) == 5
    filled.execute("UPDATE stages SET stage_type = 'x'")
    assert filled.value("SELECT count(*) FROM audit.change_default") == 0
    filled.execute(
        "INSERT INTO audit.change (changed_at, table_schema, table_name, operation)"
        " VALUES (now() + interval '5 months', 'public', 'stages', 'TRUNCATE')"
    )
    assert filled.value("SELECT count(*) FROM audit.change_default") == 1
    before = filled.rows(LINES)
    assert len(filled.rows("SELECT audit.add_partitions(6)")) == 3
    assert filled.rows("SELECT audit.add_partitions(6)") == []
    assert (filled.value("SELECT count(*) FROM audit.change_default"), filled.value(partitions)) == (0, 8)
    assert filled.rows(LINES) == before
    filled.execute("UPDATE stages SET stage_type = 'y'")
    assert len(filled.rows(LINES)) == 5
    assert psql(filled, BACK, accept_loss="on").code == 0


@ONE_VERSION
def test_lines_need_a_word_before_they_go(filled: Application) -> None:
    for number, name in enumerate(
        ("01_cleanup_template_tables", "02_index_frequent_queries", "03_soft_delete"), start=1
    ):
        filled.execute(LINE.format(number=number, name=name))
    migrate = {"module": "pipelines.migrations", "DATABASE_URL": filled.url}
    assert call("up", "--to", "4", **migrate).code == 0
    filled.execute("UPDATE stages SET stage_type = 'x'")
    catalog = filled.catalog()
    refused = call("down", "--yes", **migrate)
    assert (refused.code, filled.catalog()) == (3, catalog)
    assert "the lines of audit.change would be lost" in refused.err
    back = call("down", "--yes", "--accept-loss", "--json", **migrate)
    assert (back.code, back.json["taken_back"]) == (0, ["04_audit_log"]), back.err


@ONE_VERSION
def test_a_schema_of_that_name_is_left_alone(filled: Application) -> None:
    filled.execute("CREATE SCHEMA audit; CREATE TABLE audit.change (own int)")
    catalog = filled.catalog()
    answer = psql(filled, FORWARD)
    assert answer.code == 3
    assert "there is a schema audit that this file did not make" in answer.err
    assert psql(filled, BACK).code == 0
    assert filled.catalog() == catalog


@pytest.mark.parametrize("way", ["kill -9", "pg_terminate_backend"])
def test_killed_in_the_middle_it_is_repaired_by_running_again(filled: Application, way: str) -> None:
    for number, name in enumerate(
        ("01_cleanup_template_tables", "02_index_frequent_queries", "03_soft_delete"), start=1
    ):
        filled.execute(LINE.format(number=number, name=name))
    other = psycopg2.connect(filled.url)
    other.cursor().execute("UPDATE stages SET stage_type = 'busy'")
    before: dict[str, Any] = contents(filled, *TABLES)
    migrate = {"module": "pipelines.migrations", "DATABASE_URL": filled.url}
    process = start("up", "--to", "4", "--lock-timeout", "1min", **migrate)
    wait_for(
        filled,
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pipelines' AND wait_event_type = 'Lock'",
    )
    if way == "kill -9":
        process.send_signal(signal.SIGKILL)
    else:
        filled.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pipelines'"
            " AND wait_event_type = 'Lock'"
        )
    process.communicate()
    assert process.returncode == (-9 if way == "kill -9" else 7)
    wait_for(filled, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'pipelines')")
    assert not filled.exists("audit.change")
    blocked = call("up", "--to", "4", **migrate)
    assert (blocked.code, filled.exists("audit.change")) == (6, False), "a lock that is not to be had"
    other.rollback()
    other.close()

    answer = call("up", "--to", "4", "--json", **migrate)

    assert (answer.code, answer.json["applied"]) == (0, ["04_audit_log"]), answer.err
    assert contents(filled, *TABLES) == before
    assert psql(filled, BACK).code == 0
