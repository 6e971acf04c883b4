"""From the switch on the new table is the application's: whatever it deletes, edits or empties there, in the grace or
later, the move comes to its end, and says it as information."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.table_move.phases import Phases
from tests.acceptance.test_cases import business
from tests.application import Application
from tests.command import Answer, run_here

A_ROW = "template_name = 'name of a' AND business_id = '{}'"
EDITS = {
    "a row is deleted": f"DELETE FROM templates WHERE {A_ROW}",
    "all rows are deleted": "DELETE FROM templates",
    "a business is deleted, with its rows": "DELETE FROM businesses WHERE business_id = '{}'",
    "a row is edited": f"UPDATE templates SET content = 'mine', template_name = '' WHERE {A_ROW}",
    "a row is given away": f"UPDATE templates SET business_id = '{business(3)}' WHERE {A_ROW}",
    "a reference is emptied": "UPDATE stages SET stage_selection_template_id = NULL",
    "a row is deleted, and its old id is written": f"DELETE FROM templates WHERE {A_ROW};"
    "UPDATE stages SET stage_selection_template_id = 'a'",
    "a row is given away, and its old id is written": f"UPDATE templates SET business_id = '{business(3)}' WHERE {A_ROW};"
    "UPDATE stages SET stage_selection_template_id = 'a'",
    "an old id is written": "UPDATE stages SET data_extraction_template_id = 'a'",
}


@pytest.fixture
def filled(application: Application) -> Application:
    for number in (1, 2, 3):
        application.business(number)
    for key in ("a", "b", "c"):
        application.template(key, f"the text of {key}")
    application.stage(1, business(1), "a", "b")
    application.stage(2, business(2), "a")
    return application


def verb(application: Application, reports: Path, name: str, *options: str) -> Answer:
    more = ("--report-dir", str(reports), "--json", *options)
    return run_here(name, *more, DATABASE_URL=application.url)


@pytest.mark.parametrize("edit", EDITS)
def test_what_the_application_does_in_the_grace_is_its_own_affair(
    filled: Application, edit: str, tmp_path: Path, monkeypatch
) -> None:
    verified = []

    def grace(going: Phases) -> None:
        filled.execute(EDITS[edit].format(business(1)))
        verified.append(verb(filled, tmp_path, "verify"))

    monkeypatch.setattr(Phases, "grace", grace)

    answer = verb(filled, tmp_path, "run", "--default-business", business(1))

    (between,) = verified
    assert between.code == 0, between.err
    assert between.json["gate"]["failed_critical"] == 0
    assert (answer.code, answer.json["state"]) == (0, "done"), answer.err
    assert answer.json["gate"]["failed_critical"] == 0
    assert "The balance holds." in Path(answer.json["report"]).read_text(encoding="utf-8")
    assert verb(filled, tmp_path, "verify").code == 0
    again = verb(filled, tmp_path, "run")
    assert again.code == 0, again.err
    assert "Nothing is left to do." in again.err
    purged = verb(filled, tmp_path, "purge", "--yes", "--archive", str(tmp_path / "archive"))
    assert purged.code == 0, purged.err


def test_deleted_and_edited_rows_are_told_as_information(filled: Application, tmp_path: Path, monkeypatch) -> None:
    def grace(going: Phases) -> None:
        filled.execute("DELETE FROM templates WHERE template_name = 'name of a'")
        filled.execute("UPDATE templates SET content = 'mine' WHERE template_name = 'name of b'")
        between = verb(filled, tmp_path, "verify")
        assert "undo the change" not in between.err.lower()
        assert failed(between)["unchanged_since_the_move"] == ("info", 3)

    def failed(answer: Answer) -> dict[str, tuple[str, int]]:
        page = Path(answer.json["report"]).with_name("summary.json")
        checks = json.loads(page.read_text(encoding="utf-8"))["checks"]
        return {c["expectation"]: (c["severity"], c["unexpected_count"]) for c in checks if not c["success"]}

    monkeypatch.setattr(Phases, "grace", grace)
    answer = verb(filled, tmp_path, "run", "--default-business", business(1))
    assert answer.code == 0, answer.err
    assert failed(answer)["nothing_was_deleted_since"][0] == "info"


def test_a_row_that_is_lost_with_the_switch_itself_stops_it(filled: Application, tmp_path: Path) -> None:
    filled.execute(
        "CREATE FUNCTION losing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        "  DELETE FROM public.templates WHERE template_name = 'name of c'; RETURN NULL; END $$;"
        "CREATE TRIGGER losing AFTER UPDATE ON stages FOR EACH STATEMENT EXECUTE FUNCTION losing()"
    )

    answer = verb(filled, tmp_path, "run", "--default-business", business(1))

    assert (answer.code, "deleted them" in answer.err) == (4, True), answer.err
    assert filled.value("SELECT milestone FROM pipelines.move") == "copying"
    assert filled.value("SELECT count(*) FROM templates") == 4
    assert filled.value("SELECT count(*) FROM stages WHERE stage_selection_template_id = 'a'") == 2


def test_a_table_that_a_trigger_misses_is_not_told_as_another_command(
    filled: Application, tmp_path: Path, monkeypatch
) -> None:
    filled.execute(
        "CREATE TABLE audit (n int);"
        "CREATE FUNCTION audited() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        "  PERFORM 1 FROM public.audit; RETURN NEW; END $$;"
        "CREATE TRIGGER audited AFTER UPDATE ON stages FOR EACH ROW EXECUTE FUNCTION audited()"
    )

    def grace(going: Phases) -> None:
        filled.execute("UPDATE stages SET data_extraction_template_id = 'a'; DROP TABLE audit")

    monkeypatch.setattr(Phases, "grace", grace)
    answer = verb(filled, tmp_path, "run", "--default-business", business(1))
    assert (answer.code, answer.json["world"]) == (3, "retired"), answer.err
    assert "42P01" in answer.err
    assert "Another command" not in answer.err
    assert "wrote nothing" not in answer.err
