"""The switch, its undo, and the gate, step by step."""

from __future__ import annotations

from dataclasses import replace

import psycopg2
import pytest
import sqlalchemy
from sqlalchemy import event

from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.foreign_keys import release, restore
from pipelines.table_move.database.rewire import rewire
from pipelines.table_move.errors import Blocked, GateClosed, NotAsAsked
from pipelines.table_move.quality import gate, samples
from pipelines.table_move.quality.subjects import Standing
from pipelines.table_move.quality.suites import Check, Suite, read_suites
from pipelines.table_move.quality.verdict import require_open
from pipelines.table_move.records import CheckRow
from pipelines.templates.move import TEMPLATES
from tests.application import Application
from tests.integration.conftest import copy


@pytest.fixture
def shared(application: Application) -> tuple[str, str]:
    """Two businesses that use one row in two columns each."""
    a, b = application.business(1), application.business(2)
    application.template("x", variables=["name"])
    application.stage(1, a, "x", "x")
    application.stage(2, b, "x", None, "x")
    return a, b


def test_references_follow_to_the_row_of_their_own_business_with_their_pre_images(
    application: Application, shared: tuple[str, str], begin
) -> None:
    going = begin()
    copy(going.attempt)
    with going.attempt.database.writing() as cursor:
        assert rewire(cursor, going.attempt) == 4
        assert rewire(cursor, going.attempt) == 0, "our own output is never mapped again"
    found = application.rows(
        "SELECT s.business_id = t.business_id, count(*) FROM stages s, LATERAL (VALUES"
        " (stage_selection_template_id), (data_extraction_template_id), (response_generation_template_id)) r(value)"
        " JOIN templates t ON t.template_id::text = r.value GROUP BY 1"
    )
    assert found == [(True, 4)]
    assert application.rows("SELECT DISTINCT old_value FROM pipelines.reference_change") == [("x",)]
    assert application.value("SELECT count(*) FROM pipelines.reference_change") == 4


def test_a_held_row_makes_us_give_up_at_once(application: Application, shared: tuple[str, str], begin) -> None:
    going = begin()
    copy(going.attempt)
    holder = psycopg2.connect(application.url)
    holder.cursor().execute("SELECT FROM stages FOR UPDATE")
    with pytest.raises(psycopg2.errors.LockNotAvailable), going.attempt.database.writing() as cursor:
        rewire(cursor, going.attempt)
    holder.close()
    assert application.rows("SELECT DISTINCT stage_selection_template_id FROM stages") == [("x",)]


@pytest.mark.parametrize(
    ("meanwhile", "named"),
    [
        ("CREATE VIEW late AS SELECT * FROM prompt_templates", "dependent_object"),
        (
            "ALTER TABLE templates RENAME TO aside; CREATE TABLE templates (LIKE aside INCLUDING ALL)",
            "templates is another table",
        ),
        ("ALTER TABLE templates ALTER system_prompt SET NOT NULL", "system_prompt"),
    ],
)
def test_what_appears_between_plan_and_switch_is_found_under_the_locks(
    application: Application, shared: tuple[str, str], begin, meanwhile: str, named: str
) -> None:
    application.execute(
        "ALTER TABLE stages ADD CONSTRAINT old FOREIGN KEY (stage_selection_template_id)"
        " REFERENCES prompt_templates (template_id)"
    )
    going = begin()
    going.copy()
    going.verify()
    application.execute("UPDATE templates SET system_prompt = ''")
    application.execute(meanwhile)

    with pytest.raises(Blocked) as caught:
        going.switch()

    assert named in " ".join([caught.value.happened, *(blocker.code for blocker in caught.value.blockers)])
    assert application.rows("SELECT DISTINCT stage_selection_template_id FROM stages") == [("x",)]
    assert application.value("SELECT convalidated FROM pg_constraint WHERE conname = 'old'"), "it came back"
    application.template("the old table is not frozen")


def test_a_trigger_that_changes_the_result_is_found_before_anybody_sees_it(
    application: Application, shared: tuple[str, str], begin
) -> None:
    going = begin()
    copy(going.attempt)
    application.execute(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.data_extraction_template_id := 'x'; RETURN NEW; END $$;"
        "CREATE TRIGGER meddle BEFORE UPDATE ON stages FOR EACH ROW EXECUTE FUNCTION meddle()"
    )
    with (
        pytest.raises(NotAsAsked, match=r"public\.stages did not take what UPDATE asked of it"),
        going.attempt.database.writing() as cursor,
    ):
        rewire(cursor, going.attempt)
    assert application.rows("SELECT DISTINCT stage_selection_template_id FROM stages") == [("x",)]


def test_foreign_keys_leave_and_come_back_as_they_were(
    application: Application, shared: tuple[str, str], begin
) -> None:
    application.execute(
        "ALTER TABLE stages ADD CONSTRAINT one FOREIGN KEY (stage_selection_template_id) REFERENCES prompt_templates"
        " ON UPDATE CASCADE DEFERRABLE; COMMENT ON CONSTRAINT one ON stages IS 'it''s kept';"
        "ALTER TABLE stages ADD CONSTRAINT two FOREIGN KEY (data_extraction_template_id)"
        " REFERENCES prompt_templates NOT VALID"
    )
    state = (
        "SELECT conname, pg_get_constraintdef(oid), convalidated, obj_description(oid) FROM pg_constraint"
        " WHERE confrelid = 'prompt_templates'::regclass ORDER BY 1"
    )
    before = application.rows(state)
    going = begin()
    assert release(going.attempt) == 2
    assert application.rows(state) == []
    restore(going.attempt)
    assert application.rows(state) == before
    restore(going.attempt)
    assert application.rows(state) == before


def suite(subject: str, *checks: dict, severity: str = "critical") -> Suite:
    return Suite(
        subject=subject,
        checks=tuple(
            Check(
                name=f"check {number}",
                severity=severity,
                reason="For the test.",
                definition={
                    "severity": severity,
                    "meta": {"name": f"check {number}", "reason": "For the test."},
                    **check,
                },
            )
            for number, check in enumerate(checks)
        ),
    )


def every_suite(attempt: Attempt) -> list[CheckRow]:
    return gate.run_suites(
        attempt.database, attempt.names, read_suites(TEMPLATES.suites), phase="verify", standing=Standing()
    )


@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_an_expectation_that_raises_closes_the_gate_whatever_its_severity(
    application: Application, database: Database, begin, severity: str
) -> None:
    application.business(1)
    application.template("x")
    going = begin()
    copy(going.attempt)
    bad = suite(
        "source",
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "no_such_column"}},
        {"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": "SELECT 1/0 FROM {batch}"}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "template_text"}},
        severity=severity,
    )
    rows = gate.run_suites(database, going.attempt.names, [bad], phase="verify", standing=Standing())
    assert [row.success for row in rows] == [False, False, True]
    assert all(row.error for row in rows[:2])
    with pytest.raises(GateClosed, match="closed by 2 expectations") as caught:
        require_open(rows)
    assert all(check.rows.startswith("could not be evaluated") for check in caught.value.failed)


def test_the_gate_cannot_write(application: Application, database: Database, begin) -> None:
    application.business(1)
    application.template("x")
    going = begin()
    query = "WITH gone AS (DELETE FROM public.prompt_templates RETURNING 1) SELECT source_id FROM {batch}"
    bad = suite("source", {"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": query}})
    rows = gate.run_suites(database, going.attempt.names, [bad], phase="verify", standing=Standing())
    assert not rows[0].success
    assert application.value("SELECT count(*) FROM prompt_templates") == 1


def test_a_question_that_takes_too_long_closes_the_gate(application: Application, database: Database, begin) -> None:
    application.business(1)
    application.template("x")
    going = begin()
    slow = {"unexpected_rows_query": "SELECT source_id FROM {batch} WHERE pg_sleep(3) IS NULL"}
    bad = suite("source", {"type": "unexpected_rows_expectation", "kwargs": slow}, severity="warning")
    with gate.opened(database, patience=0.2) as opened:
        (row,) = opened.ask(going.attempt.names, [bad], phase="verify", standing=Standing())
    assert not row.success
    assert "57014" in row.error
    with pytest.raises(GateClosed):
        require_open([row])


def test_a_subject_that_takes_too_long_to_read_closes_the_gate(
    application: Application, database: Database, begin
) -> None:
    application.business(1)
    application.template("x")
    names = begin().attempt.names
    check = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "template_text"}}
    with gate.opened(database, patience=0.2) as opened, Application(application.url) as other:
        other.execute("BEGIN; LOCK prompt_templates")
        (row,) = opened.ask(names, [suite("source", check, severity="warning")], phase="verify", standing=Standing())
    assert not row.success
    assert "57014" in row.error
    with pytest.raises(GateClosed):
        require_open([row])


@pytest.mark.parametrize("allowed", [True, False], ids=["kept", "no temporary table"])
def test_a_subject_is_read_once_where_the_server_lets_us(
    application: Application, shared: tuple[str, str], begin, allowed: bool
) -> None:
    going = begin()
    copy(going.attempt)
    application.execute("UPDATE templates SET template_type = 'other' WHERE business_id = %s", (shared[0],))
    if not allowed:
        application.execute(
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no tables' ; END $$;"
            "CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE TABLE AS') EXECUTE FUNCTION refuse()"
        )
    asked = []

    def note(connection, cursor, statement, *_) -> None:
        asked.append(statement)

    event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        rows = every_suite(going.attempt)
    finally:
        event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
    questions = [statement for statement in asked if "count(" in statement or "sum(" in statement]
    assert len(questions) >= 2 * 4, "each suite asks at least twice"
    assert {"prompt_templates" in statement or "id_map" in statement for statement in questions} == {not allowed}
    (failed,) = [row for row in rows if row.expectation == "row_is_as_loaded"]
    assert (failed.success, failed.unexpected_count, len(failed.samples)) == (False, 1, 1)


@pytest.mark.parametrize("few", [0, 10_000])
def test_failing_rows_are_named_however_many_there_are(
    application: Application, database: Database, begin, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    application.business(1)
    keys = [application.template(f"row {number}") for number in range(3)]
    application.execute("UPDATE prompt_templates SET template_name = NULL")
    application.execute("UPDATE prompt_templates SET description = 'there' WHERE template_id <> 'row 1'")
    monkeypatch.setattr(samples, "_FEW", few)
    checks = [
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": name}}
        for name in ("template_name", "description")
    ]
    rows = gate.run_suites(
        database, begin().attempt.names, [suite("source", *checks)], phase="verify", standing=Standing()
    )
    assert [(sorted(row.samples), row.unexpected_count) for row in rows] == [(keys, 3), (["row 1"], 1)]


def test_all_suites_see_one_snapshot(
    application: Application, shared: tuple[str, str], begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = begin()
    copy(going.attempt)
    original = gate.Gate._run

    def disturbed(*arguments):
        application.execute("DELETE FROM templates")
        return original(*arguments)

    monkeypatch.setattr(gate.Gate, "_run", disturbed)
    rows = every_suite(going.attempt)
    assert application.value("SELECT count(*) FROM templates") == 0
    assert [row.expectation for row in rows if not row.success and row.severity == "critical"] == []


DEFECTS = {
    "row_is_there": "DELETE FROM templates WHERE business_id = '00000000-0000-0000-0000-000000000001'",
    "owner_is_right": "UPDATE templates SET business_id = '00000000-0000-0000-0000-000000000002'",
    "text_is_carried": "UPDATE templates SET content = content || ' '",
    "row_is_as_loaded": "UPDATE templates SET template_type = 'other'",
    "source_is_as_read": "UPDATE prompt_templates SET description = 'new'",
    "name_is_not_empty": "UPDATE templates SET template_name = ''",
    "nothing_dangles": "UPDATE stages SET stage_selection_template_id = 'nowhere'",
    "successor_is_of_the_same_business": "UPDATE templates SET business_id = '00000000-0000-0000-0000-000000000002'",
    "no_reference_waits_for_its_row": "INSERT INTO prompt_templates VALUES ('unseen', 'text');"
    "UPDATE stages SET stage_selection_template_id = 'unseen'",
    "balance_holds": "INSERT INTO prompt_templates VALUES ('unseen', 'text')",
    "no_conflicts": "UPDATE pipelines.id_map SET disposition = 'conflict'",
    "no_rejects": "INSERT INTO pipelines.rejected VALUES ('templates', 'x', NULL, NULL, 'r', 'd', 1)",
    "text_is_there": "ALTER TABLE prompt_templates ALTER template_text DROP NOT NULL;"
    "UPDATE prompt_templates SET template_text = NULL",
    "text_is_not_blank": "UPDATE prompt_templates SET template_text = ' '",
    "name_is_there": "UPDATE prompt_templates SET template_name = NULL",
    "name_is_not_blank": "UPDATE prompt_templates SET template_name = E' \\t\\n'",
    "type_is_known": "UPDATE prompt_templates SET template_type = 'mystery'",
    "type_is_there": "UPDATE prompt_templates SET template_type = NULL",
    "id_is_not_blank": "INSERT INTO prompt_templates VALUES (' ', 'text')",
    "id_is_in_the_usual_spelling": "INSERT INTO prompt_templates VALUES ('{6F1C2F0E-8D52-4F0B-9C43-0A7D5B3E21C8}', 'text')",
    "text_is_unique": "INSERT INTO prompt_templates SELECT 'y', template_text FROM prompt_templates",
    "name_is_kept_whole": "UPDATE prompt_templates SET template_name = ' ', description = E'\\n' || repeat('long ', 60)",
    "declared_variables_are_used": "UPDATE prompt_templates SET template_text = 'Hello'",
    "used_variables_are_declared": "UPDATE prompt_templates SET variables = '{}', template_text = 'Hello {{name}}'",
    "row_from_before_is_unchanged": "UPDATE pipelines.id_map SET loaded = false, disposition = 'adopted';"
    "UPDATE templates SET content = 'changed'",
    "type_is_not_blank": "UPDATE templates SET template_type = ' '",
    "text_is_not_doubled": "INSERT INTO templates SELECT gen_random_uuid(), business_id, 'by hand', 't', content FROM templates",
    "owner_follows_the_rules": "UPDATE pipelines.id_map SET owner_rule = 'owners_file'",
    "new_table_has_rows_enough": "DELETE FROM templates",
    "nothing_belongs_to_another_business": "INSERT INTO templates VALUES ('00000000-0000-4000-8000-0000000000aa',"
    " '00000000-0000-0000-0000-000000000002', 'n', 't', 'c'); UPDATE stages SET stage_selection_template_id ="
    " '00000000-0000-4000-8000-0000000000aa' WHERE business_id = '00000000-0000-0000-0000-000000000001'",
}
LATER = {
    "nothing_old_is_left",
    "nothing_was_allowed_to_dangle",
    "no_old_id_was_written_since",
    "unchanged_since_the_move",
    "old_table_is_gone",
    "references_are_still_filled",
    "nothing_was_deleted_since",
    "no_old_id_is_to_follow",
}


@pytest.mark.parametrize("expectation", DEFECTS)
def test_each_expectation_fails_for_the_defect_it_is_there_for(
    application: Application, shared: tuple[str, str], begin, expectation: str
) -> None:
    going = begin()
    copy(going.attempt)

    def failing() -> set[str]:
        rows = every_suite(going.attempt)
        assert all(row.error is None for row in rows), rows
        assert all(row.samples and row.unexpected_count for row in rows if not row.success), rows
        return {row.expectation for row in rows if not row.success}

    assert failing() == set()
    application.execute(DEFECTS[expectation])
    assert expectation in failing()


def test_each_expectation_that_matters_later_fails_then(
    application: Application, shared: tuple[str, str], begin
) -> None:
    going = begin()
    copy(going.attempt)
    application.execute("UPDATE templates SET content = 'edited'")
    application.execute("DELETE FROM templates WHERE business_id = %s", (shared[1],))
    application.stage(9, shared[0], "nowhere")
    old_id = application.value("SELECT min(template_id) FROM prompt_templates")
    application.stage(10, application.business(70), old_id)  # of a business that had none of it
    application.execute(
        "INSERT INTO pipelines.reference_change (move, table_name, row_key, column_name, old_value, new_value, run_id)"
        " SELECT 'templates', 'stages', stage_id, 'data_extraction_template_id', 'x', 'y', 1 FROM stages"
        " WHERE data_extraction_template_id IS NULL"
    )
    retired = replace(going.attempt.names, source_schema="gone")
    application.execute("CREATE SCHEMA gone; CREATE TABLE gone.prompt_templates AS TABLE prompt_templates")
    found = set()
    for names, standing in (
        (going.attempt.names, Standing(switched=True)),
        (going.attempt.names, Standing(dangling_allowed=True)),
        (retired, Standing(switched=True)),
        (retired, Standing(switched=True, following=True)),
        (retired, Standing(switched=True, settled=True)),
    ):
        rows = gate.run_suites(
            going.attempt.database,
            names,
            read_suites(TEMPLATES.suites),
            phase="verify",
            standing=standing,
        )
        found |= {row.expectation for row in rows if not row.success}
    assert found >= LATER
    known = {check.name for one in read_suites(TEMPLATES.suites) for check in one.checks}
    assert known == set(DEFECTS) | LATER, "no expectation that never fails"
