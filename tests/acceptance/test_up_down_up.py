"""Up, down, up: after `rollback` the application's tables and rows are as they were, whatever they were, and the second
run gives the same ids. Each a real database; each result read by pg_dump and plain SQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.test_cases import CASES, KEYS_TO_OLD, Case, arguments, business, words
from tests.application import Application
from tests.command import Answer, call, run_here
from tests.postgres_tools import contents, psql, schema_dump

TABLES = ("businesses", "prompt_templates", "templates", "stages")
MAP = "SELECT source_id, owner_id, target_id, disposition FROM pipelines.id_map ORDER BY 1, 2"
U1, U2 = "00000001-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "00000002-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
RUN_CASES = [case for case in CASES if case.code in (0, 4)]


@pytest.fixture
def application(application: Application) -> Application:
    for number in (1, 2, 3):
        application.business(number)
    return application


def verb(application: Application, folder: Path, name: str, *more: str) -> Answer:
    grace = ("--grace", "0s") if name == "run" else ()
    return run_here(name, "--json", *grace, "--report-dir", str(folder), *more, DATABASE_URL=application.url)


def world(application: Application) -> tuple[str, dict[str, list[tuple[object, ...]]]]:
    """Definitions and rows of the application's tables."""
    return schema_dump(application), contents(application, *TABLES)


@pytest.mark.parametrize("case", RUN_CASES, ids=lambda case: case.name)
def test_up_and_down_leave_every_case_as_it_was(application: Application, case: Case, tmp_path: Path) -> None:
    case.arrange(application)
    before = world(application)
    assert verb(application, tmp_path, "run", *arguments(case, tmp_path)).code == case.code

    answer = verb(application, tmp_path, "rollback")

    assert answer.code == 0, answer.err
    assert (answer.json["state"], answer.json["rollback"]["losses"]) == ("rolled_back", [])
    assert world(application) == before


@pytest.mark.parametrize(
    "arrange",
    [
        words("row a", "stage 1 1 a", """ALTER TABLE templates ADD "100%(x)s" text DEFAULT '%s', ADD "%" text""",
              'ALTER TABLE stages ADD "%s" text; ALTER TABLE prompt_templates ADD "50%%" text',
              'CREATE TABLE "%d" (template_id uuid REFERENCES templates)'),
        words("row a", f"row {U1}", "stage 1 1 a a", f"stage 2 2 a {U1}", f"stage 3 3 {U1}", KEYS_TO_OLD,
              "COMMENT ON CONSTRAINT stages_stage_selection_template_id_fkey ON stages IS 'it''s kept'",
              "COMMENT ON TABLE prompt_templates IS 'the old one'", "COMMENT ON COLUMN prompt_templates.template_text IS 'x'",
              "GRANT SELECT (template_id), INSERT ON prompt_templates TO PUBLIC",
              "ALTER TABLE prompt_templates ALTER template_text SET STORAGE EXTERNAL"),
        words("row a", f"row {U2}", f"there {U1} 1", "stage 1 1 a", f"stage 2 1 {U1} {U2}", f"stage 3 2 {U1} a"),
        words("row a", f"row {U2}", f"there {U1} 1", f"there {U2} 2", f"stage 1 2 {U2} a", f"stage 2 1 a {U1}"),
    ],
    ids=["with names and defaults that hold a percent sign", "with foreign keys, comments and grants", "adopted rows that were referred to before", "rows present before"],
)  # fmt: skip
def test_up_down_up_gives_the_same_ids(
    application: Application, arrange: Callable[[Application], None], tmp_path: Path
) -> None:
    arrange(application)
    before = world(application)
    default = ("--default-business", business(1))
    assert verb(application, tmp_path, "run", *default).code == 0
    ids, up = application.rows(MAP), contents(application, "stages")

    assert verb(application, tmp_path, "rollback").code == 0
    assert world(application) == before
    second = verb(application, tmp_path, "run")

    assert second.code == 0, second.err
    assert (application.rows(MAP), contents(application, "stages")) == (ids, up)
    assert verb(application, tmp_path, "rollback").code == 0
    assert world(application) == before


def test_01_by_psql_is_taken_back_by_the_pipeline(application: Application, tmp_path: Path) -> None:
    words("row a", f"there {U1} 1", "stage 1 1 a", f"stage 2 1 {U1}", "stage 3 2 a")(application)
    before = world(application)
    assert psql(application, "sql/01_cleanup_template_tables.sql").code == 0

    answer = verb(application, tmp_path, "rollback")

    assert answer.code == 0, answer.err
    assert world(application) == before
    for file in ("sql/01_cleanup_template_tables.rollback.sql", "sql/01_cleanup_template_tables.sql"):
        assert psql(application, file).code == 0, "01 goes on from there: nothing to take back, and it begins anew"
    assert not application.exists("public.prompt_templates")
    assert psql(application, "sql/01_cleanup_template_tables.rollback.sql").code == 0
    assert world(application) == before


def test_a_rollback_before_the_cutover_removes_the_copies(application: Application, tmp_path: Path) -> None:
    words("row a", "row b", "stage 1 1 a b", "stage 2 2 a", KEYS_TO_OLD)(application)
    before = world(application)
    assert verb(application, tmp_path, "run", "--until", "verify").code == 0
    assert application.value("SELECT count(*) FROM templates") == 3

    answer = verb(application, tmp_path, "rollback")

    assert answer.code == 0, answer.err
    assert answer.json["rollback"]["removed"] == 3
    assert world(application) == before


def test_a_rollback_with_nothing_to_take_back_writes_nothing_but_its_own_row(
    application: Application, tmp_path: Path
) -> None:
    words("row a", "stage 1 1 a")(application)
    never = verb(application, tmp_path, "rollback")
    assert (never.code, never.json["state"]) == (0, "not_started")
    assert not application.exists("pipelines.run")
    assert verb(application, tmp_path, "run").code == 0
    assert verb(application, tmp_path, "rollback").code == 0
    places = application.places()

    again = verb(application, tmp_path, "rollback")

    after = application.places()
    assert (again.code, again.json["state"], again.json["rows_written"]) == (0, "rolled_back", 0)
    runs, with_its_own = set(places.pop("pipelines.run")), set(after.pop("pipelines.run"))  # wherever there was room
    assert runs < with_its_own
    assert len(with_its_own) == len(runs) + 1
    assert after == places


def test_status_plan_and_verify_know_a_move_that_was_taken_back(application: Application, tmp_path: Path) -> None:
    words("row a", "stage 1 1 a")(application)
    assert verb(application, tmp_path, "run").code == 0
    assert verb(application, tmp_path, "rollback").code == 0
    places = application.places()
    status = call("status", "--json", DATABASE_URL=application.url)
    assert (status.code, status.json["state"], status.json["source_rows"], status.json["inserted"]) == (
        0, "rolled_back", 1, 0,
    )  # fmt: skip
    plan = call("plan", "--json", DATABASE_URL=application.url)
    assert (plan.code, plan.json["state"], plan.json["inserted"]) == (0, "rolled_back", 1)
    verify = verb(application, tmp_path, "verify")
    assert (verify.code, verify.json["state"]) == (0, "rolled_back")
    report = verb(application, tmp_path, "report")
    assert (report.code, report.json["state"]) == (0, "rolled_back")
    assert application.places() == places


def test_rows_that_a_trigger_would_change_are_not_written_and_nothing_has_to_be_taken_back(
    application: Application, tmp_path: Path
) -> None:
    words("CREATE FUNCTION louder() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.content := upper(NEW.content);"
          " RETURN NEW; END $$",
          "CREATE TRIGGER louder BEFORE INSERT ON templates FOR EACH ROW EXECUTE FUNCTION louder()",
          "row a text=quiet", "stage 1 1 a")(application)  # fmt: skip
    before = world(application)
    assert verb(application, tmp_path, "run").code == 3
    assert world(application) == before
    answer = verb(application, tmp_path, "rollback")
    assert answer.code == 0, answer.err
    assert world(application) == before
