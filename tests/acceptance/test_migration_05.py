"""References as uuid with foreign keys: nothing lost there and back, writers go on, and what cannot be is said before."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest

from tests.acceptance.test_cases import ADD_OLDER, KEYS_TO_OLD, KEYS_TO_TEMPLATES, TEXT_TO_UUID
from tests.acceptance.test_migrations import LINE, ONE_VERSION, wait_for
from tests.application import Application
from tests.command import Answer, call, start
from tests.postgres_tools import psql, schema_dump

FORWARD = "sql/05_stage_references_as_uuid.sql"
BACK = "sql/05_stage_references_as_uuid.rollback.sql"
COLUMNS = ("stage_selection_template_id", "data_extraction_template_id", "response_generation_template_id")
EARLIER = ("01_cleanup_template_tables", "02_index_frequent_queries", "03_soft_delete", "04_audit_log")
WORKING = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'stages'::regclass AND attname LIKE 'pipelines%' AND NOT attisdropped"


@pytest.fixture
def filled(application: Application) -> Application:
    """30 templates and 2,000 stages (several batches) of three businesses, each column a reference or NULL, with the indexes of 02."""
    for number in (1, 2, 3):
        application.business(number)
    application.execute(
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
        " SELECT md5('t' || n)::uuid, ('00000000-0000-0000-0000-00000000000' || n %% 3 + 1)::uuid, n, 't', 'text'"
        " FROM generate_series(0, 29) n;"
        "INSERT INTO stages (stage_id, business_id, stage_name, stage_description, stage_type, stage_selection_template_id,"
        " data_extraction_template_id, response_generation_template_id)"
        " SELECT md5('s' || n)::uuid, ('00000000-0000-0000-0000-00000000000' || n %% 3 + 1)::uuid, n, repeat('d', 300), 't',"
        " md5('t' || n %% 30)::uuid, CASE WHEN n %% 2 = 0 THEN md5('t' || n %% 10)::uuid END, NULL"
        " FROM generate_series(1, 2000) n",
        (),
    )
    for number, name in enumerate(EARLIER, start=1):
        application.execute(LINE.format(number=number, name=name))
    assert psql(application, "sql/02_index_frequent_queries.sql").code == 0
    return application


def migrations(application: Application, *arguments: str, **more: Any) -> Answer:
    return call(*arguments, "--json", module="pipelines.migrations", DATABASE_URL=application.url, **more)


def without_places(dump: str) -> list[str]:
    """A dump in which the order of the columns makes no difference."""
    return sorted(line.strip().rstrip(",") for line in dump.splitlines())


def rows_by_name(application: Application) -> list[dict[str, Any]]:
    return [row for (row,) in application.rows("SELECT to_jsonb(s) FROM stages s ORDER BY stage_id")]


def types(application: Application) -> dict[str, str]:
    return dict(
        application.rows(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'stages'::regclass"
            " AND attname LIKE '%template_id' AND attname NOT LIKE 'pipelines%' AND NOT attisdropped"
        )
    )


def keys(application: Application) -> list[tuple[Any, ...]]:
    return application.rows(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'stages'::regclass AND contype = 'f'"
        " AND convalidated AND confrelid = 'templates'::regclass ORDER BY 1"
    )


GENERATIONS = {
    "A": "",
    "A with the older names as well": ADD_OLDER + "UPDATE stages SET selection_template_id = stage_selection_template_id;"
    "CREATE INDEX own ON stages (selection_template_id)",
    "A with comments and NOT NULL": "COMMENT ON COLUMN stages.data_extraction_template_id IS 'what for';"
    "ALTER TABLE stages ALTER stage_selection_template_id SET NOT NULL; ALTER TABLE templates ALTER content DROP NOT NULL",
    "B": TEXT_TO_UUID,
    "B with keys": TEXT_TO_UUID + ";" + KEYS_TO_TEMPLATES,
    "B with one key that is not valid": TEXT_TO_UUID + "; ALTER TABLE stages ADD CONSTRAINT own FOREIGN KEY"
    " (stage_selection_template_id) REFERENCES templates ON DELETE SET NULL NOT VALID",
    "half and half": "ALTER TABLE stages ALTER data_extraction_template_id TYPE uuid USING data_extraction_template_id::uuid",
}  # fmt: skip


@ONE_VERSION
@pytest.mark.parametrize("generation", GENERATIONS)
def test_up_down_and_up_again(filled: Application, generation: str) -> None:
    filled.execute(GENERATIONS[generation] or "SELECT 1")
    before, rows = without_places(schema_dump(filled)), rows_by_name(filled)
    for _ in range(2):
        answer = psql(filled, FORWARD)
        assert answer.code == 0, answer.err
    assert answer.err == ""
    after = schema_dump(filled)
    assert set(types(filled).values()) == {"uuid"}
    assert len(keys(filled)) == len(types(filled))
    assert rows_by_name(filled) == rows
    assert filled.value(
        "SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = indrelid AND attnum = indkey[0]"
        " WHERE indrelid = 'stages'::regclass AND attname LIKE '%template_id' AND indisvalid"
    ) == 3 + generation.endswith("as well")
    assert filled.value(
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'templates'::regclass AND attname = 'content'"
    )
    assert psql(filled, FORWARD).code == 0
    assert schema_dump(filled) == after, "applied twice it has no effect"

    for _ in range(2):
        answer = psql(filled, BACK)
        assert (answer.code, answer.err) == (0, "")
    back = schema_dump(filled)
    if generation.endswith("not valid"):
        before = [line.removesuffix(" NOT VALID;") + ";" * line.endswith(" NOT VALID;") for line in before]
    assert without_places(back) == before
    assert rows_by_name(filled) == rows
    assert filled.rows("SELECT relname FROM pg_class WHERE relnamespace = 'pipelines_migrations'::regnamespace") == [
        ("applied",), ("applied_pkey",),
    ]  # fmt: skip
    assert filled.value("SELECT count(*) FROM pg_proc WHERE pronamespace = 'pipelines_migrations'::regnamespace") == 0
    assert psql(filled, FORWARD).code == 0
    assert (schema_dump(filled), rows_by_name(filled)) == (after, rows)


def broken(application: Application, statement: str) -> Answer:
    """Up, where something is wrong: it says so, and nothing was changed."""
    application.execute(statement)
    catalog, rows = application.catalog(), rows_by_name(application)
    answer = psql(application, FORWARD)
    assert answer.code == 3, statement
    assert (application.catalog(), rows_by_name(application)) == (catalog, rows)
    return answer


SET_FIRST = "UPDATE stages SET data_extraction_template_id = {} WHERE stage_name = '7'"
NOWHERE = "00000000-1111-4111-8111-111111111111"
IN_THE_WAY = {
    "an old id": (SET_FIRST.format("'polite-refund-7'"), "data_extraction_template_id = 'polite-refund-7'"),
    "nothing": (SET_FIRST.format(f"'{NOWHERE}'"), "1 references are not the id of a template"),
    "another spelling": (SET_FIRST.format("upper(stage_selection_template_id)"), "1 references are not the id"),
    "nothing, in a uuid column": (
        TEXT_TO_UUID + ";" + SET_FIRST.format(f"'{NOWHERE}'"),
        f"data_extraction_template_id = '{NOWHERE}'",
    ),
    "a key to the old table": (
        "UPDATE stages SET stage_selection_template_id = NULL, data_extraction_template_id = NULL;" + KEYS_TO_OLD,
        "prompt_templates leaves with the move",
    ),
    "a view": (
        "CREATE VIEW used AS SELECT data_extraction_template_id FROM stages",
        "rule _RETURN on view public.used",
    ),
    "an index on more": ("CREATE INDEX more ON stages (business_id, data_extraction_template_id)", "index public.more"),
    "a default": ("ALTER TABLE stages ALTER data_extraction_template_id SET DEFAULT ''", "has a default"),
    "a check": (
        "ALTER TABLE stages ADD CHECK (data_extraction_template_id <> '')",
        "constraint stages_data_extraction",
    ),
    "grants on a column": ("GRANT SELECT (data_extraction_template_id) ON stages TO PUBLIC", "has grants of its own"),
    "a column of numbers": (ADD_OLDER + "ALTER TABLE stages ALTER response_template_id TYPE int USING 1", "is integer"),
}


@ONE_VERSION
@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_cannot_be_is_said_before_anything_is_changed(filled: Application, case: str) -> None:
    statement, said = IN_THE_WAY[case]
    answer = broken(filled, statement)
    assert said in answer.err
    assert "Nothing was changed" in answer.err


@ONE_VERSION
@pytest.mark.parametrize(("milestone", "code"), [("copying", 3), ("switched", 3), ("retired", 3), ("confirmed", 0)])
def test_it_waits_for_the_end_of_the_move(filled: Application, milestone: str, code: int) -> None:
    filled.execute(
        "CREATE SCHEMA pipelines; CREATE TABLE pipelines.move (move text, milestone text);"
        f"INSERT INTO pipelines.move VALUES ('templates', '{milestone}')"
    )
    catalog = filled.catalog()
    answer = psql(filled, FORWARD)
    assert answer.code == code
    assert (f"in the middle (it is at: {milestone})" in answer.err) == (code == 3)
    assert (filled.catalog() == catalog) == (code == 3)


@ONE_VERSION
def test_content_with_holes_stays_nullable_and_is_told(filled: Application) -> None:
    filled.execute("ALTER TABLE templates ALTER content DROP NOT NULL; UPDATE templates SET content = NULL")
    answer = psql(filled, FORWARD)
    assert answer.code == 0
    assert "templates.content is NULL in 30 rows" in answer.err
    assert not filled.value(
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'templates'::regclass AND attname = 'content'"
    )


@contextmanager
def writing(application: Application) -> Iterator[list[str]]:
    """A writer that never stops: new stages, changed and emptied references, changed templates. Yields what it was refused."""
    refused: list[str] = []
    done = threading.Event()
    ready = threading.Event()

    def work() -> None:
        connection = psycopg2.connect(application.url)
        connection.autocommit = True
        number = 0
        with connection.cursor() as cursor:
            while not done.is_set():
                number += 1
                key = f"md5('t{number % 30}')::uuid"
                try:
                    cursor.execute(
                        "INSERT INTO stages (stage_id, business_id, stage_name, stage_description, stage_type,"
                        f" stage_selection_template_id) SELECT md5('new {number}')::uuid, business_id, 'new', 'd', 't', {key}"
                        " FROM businesses LIMIT 1;"
                        f"UPDATE stages SET response_generation_template_id = {key} WHERE stage_name = '{number % 2000}';"
                        f"UPDATE stages SET data_extraction_template_id = NULL WHERE stage_name = '{number * 7 % 2000}'"
                    )
                except psycopg2.Error as problem:
                    refused.append(str(problem))
                ready.set()
        connection.close()

    writer = threading.Thread(target=work)
    writer.start()
    ready.wait(timeout=10)
    try:
        yield refused
    finally:
        done.set()
        writer.join()


def test_writers_go_on_and_nothing_of_theirs_is_lost(filled: Application) -> None:
    with writing(filled) as refused:
        forward = psql(filled, FORWARD)
        assert set(types(filled).values()) == {"uuid"}
        back = psql(filled, BACK)
    assert (forward.code, back.code, refused) == (0, 0, []), forward.err + back.err
    assert filled.value("SELECT count(*) FROM stages WHERE stage_name = 'new'") > 50
    assert (
        filled.value(
            "SELECT count(*) FROM stages WHERE stage_name = 'new' AND stage_selection_template_id NOT IN"
            " (SELECT template_id::text FROM templates)"
        )
        == 0
    )
    assert filled.value("SELECT count(*) FROM stages WHERE response_generation_template_id IS NOT NULL") > 50
    assert filled.value("SELECT count(*) FROM stages WHERE stage_selection_template_id IS NULL") == 0
    assert filled.value(WORKING) == 0


def test_a_business_still_takes_its_templates_and_stages_along(filled: Application) -> None:
    assert psql(filled, FORWARD).code == 0
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        filled.execute("DELETE FROM templates WHERE template_id = md5('t1')::uuid")
    one = filled.value("SELECT business_id FROM businesses ORDER BY 1 LIMIT 1")
    filled.execute("DELETE FROM stages WHERE business_id <> %s", (one,))
    filled.execute("DELETE FROM businesses WHERE business_id = %s", (one,))
    assert filled.value("SELECT count(*) FROM stages") == 0


AT_WORK = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pipelines' AND wait_event = 'PgSleep' AND query ~ '{}'"


@contextmanager
def slow(application: Application, seconds: float, row: int = 1990) -> Iterator[None]:
    """A row takes its time; unless said otherwise one of the last batch."""
    application.execute(
        f"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$;"
        f"CREATE TRIGGER slow BEFORE UPDATE ON stages FOR EACH ROW WHEN (NEW.stage_name = '{row}') EXECUTE FUNCTION slow()"
    )
    try:
        yield
    finally:
        application.execute("DROP TRIGGER slow ON stages; DROP FUNCTION slow()")


@pytest.mark.parametrize(("verb", "way"), [("up", "kill -9"), ("down", "pg_terminate_backend")])
def test_killed_while_values_are_copied_it_is_repaired_by_running_again_or_taken_back(
    filled: Application, verb: str, way: str
) -> None:
    before, rows = without_places(schema_dump(filled)), rows_by_name(filled)
    old, new, there, back = "character varying(255)", "uuid", FORWARD, BACK
    if verb == "down":
        assert psql(filled, FORWARD).code == 0
        old, new, there, back = new, old, back, there
    for again in (there, back):
        assert set(types(filled).values()) == {old}
        kill_between(filled, verb, way)
        assert (filled.value(WORKING), set(types(filled).values())) == (3, {old})
        assert filled.execute("UPDATE stages SET stage_type = 't' WHERE stage_name < '2'") > 1000, "writers go on"
        answer = migrations(filled, verb, "--yes") if again == there else psql(filled, again)
        assert answer.code == 0, answer.err
        assert (filled.value(WORKING), set(types(filled).values())) == (0, {new if again == there else old})
        if again == there:
            assert psql(filled, back).code == 0
    if old == "uuid":
        assert psql(filled, BACK).code == 0
    assert without_places(schema_dump(filled)) == before
    assert rows_by_name(filled) == rows


@ONE_VERSION
def test_killed_while_an_index_is_built_it_is_repaired_by_running_again(filled: Application) -> None:
    other = psycopg2.connect(filled.url)
    other.set_session(isolation_level="REPEATABLE READ")
    other.cursor().execute("SELECT 1")  # the index waits for this snapshot to end
    process = start("up", module="pipelines.migrations", DATABASE_URL=filled.url)
    wait_for(filled, "SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    assert filled.execute("UPDATE stages SET stage_name = stage_name WHERE stage_name = '1'") == 1, "writers go on"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(filled, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'pipelines')")
    other.rollback()
    other.close()
    refused = psql(filled, "sql/01_cleanup_template_tables.rollback.sql")
    assert (refused.code, "Take 05 down first" in refused.err) == (3, True), "also half of 05"

    answer = migrations(filled, "up")

    assert (answer.code, answer.json["applied"]) == (0, ["05_stage_references_as_uuid"]), answer.err
    assert (
        filled.value(
            "SELECT count(*) FROM pg_index WHERE NOT indisvalid OR indexrelid::regclass::text ~ '^pipelines_new'"
        )
        == 0
    )
    assert "idx_stages_data_extraction_template_id" in schema_dump(filled)


def kill_between(application: Application, verb: str, way: str) -> None:
    """Kill it in the last batch."""
    with slow(application, 60):
        process = start(verb, "--yes", module="pipelines.migrations", DATABASE_URL=application.url)
        wait_for(application, AT_WORK.format("copy_values"))
        if way == "kill -9":
            process.send_signal(signal.SIGKILL)
        else:
            application.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pipelines'"
                " AND query ~ 'copy_values'"
            )
        process.communicate()
        assert process.returncode == (-9 if way == "kill -9" else 7)
        wait_for(application, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'pipelines')")
    new = "pipelines_new_stage_selection_template_id"
    assert application.value(f"SELECT count(*) FILTER (WHERE {new} IS NULL) > 0 AND count({new}) > 0 FROM stages")


@ONE_VERSION
def test_while_it_works_it_is_alone_and_refuses_what_is_no_template(filled: Application) -> None:
    with slow(filled, 3):
        process = start("up", module="pipelines.migrations", DATABASE_URL=filled.url)
        wait_for(filled, AT_WORK.format("copy_values"))
        with pytest.raises(psycopg2.Error, match="uuid"):
            filled.execute(SET_FIRST.format("'polite-refund-7'"))
        answer = psql(filled, FORWARD)
        assert answer.code == 3
        assert "a run of the move templates, or of this file, is active" in answer.err
        process.communicate()
    assert process.returncode == 0
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        filled.execute(SET_FIRST.format(f"'{NOWHERE}'"))


@ONE_VERSION
def test_rows_that_somebody_holds_are_left_for_later(filled: Application) -> None:
    """A row of the last batch is locked while the file is in the first, and released in the next round."""
    filled.execute("UPDATE stages SET stage_type = 'last' WHERE stage_name = '1'")  # behind all others
    with slow(filled, 2, row=2), closing(psycopg2.connect(filled.url)) as other:
        process = start("up", module="pipelines.migrations", DATABASE_URL=filled.url)
        wait_for(filled, AT_WORK.format("copy_values"))
        other.cursor().execute("SELECT FROM stages WHERE stage_name = '1' FOR UPDATE")
        missing = (
            "stages WHERE stage_selection_template_id IS NOT NULL AND pipelines_new_stage_selection_template_id IS NULL"
        )
        wait_for(filled, f"SELECT count(*) = 1 FROM {missing}")
        assert process.poll() is None
        other.rollback()
        process.communicate()
    assert process.returncode == 0
    assert set(types(filled).values()) == {"uuid"}


@ONE_VERSION
def test_a_long_reader_makes_it_try_again_and_nobody_wait(filled: Application) -> None:
    other = psycopg2.connect(filled.url)
    other.cursor().execute("SELECT count(*) FROM stages")
    process = start("up", module="pipelines.migrations", DATABASE_URL=filled.url)
    wait_for(filled, "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'add_new_columns' AND wait_event = 'PgSleep'")
    assert filled.execute("UPDATE stages SET stage_type = 'x' WHERE stage_name = '1'") == 1
    other.rollback()
    other.close()
    process.communicate()
    assert process.returncode == 0
