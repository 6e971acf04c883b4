"""The way back where triggers of the installation keep, change or refuse what it writes: what stays is named, and is never
counted as done. Judged by plain SQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.test_cases import business, words
from tests.acceptance.test_rollback import lost
from tests.acceptance.test_up_down_up import verb, world
from tests.application import Application
from tests.integration.test_asked_and_got import REFERENCES, trigger

ROWS = "SELECT template_id::text FROM templates ORDER BY 1"
WHOLE = "SELECT * FROM templates ORDER BY template_id"
STAGES = "SELECT * FROM stages ORDER BY 1"
MILESTONE = "SELECT milestone FROM pipelines.move"

KEEPERS = {
    "keeps them": "RETURN NULL;",
    "marks them": "UPDATE templates SET system_prompt = 'deleted' WHERE template_id = OLD.template_id; RETURN NULL;",
    "refuses": "RAISE 'secret text' USING ERRCODE = 'APP01';",
    "refuses for want of a row": "RAISE NO_DATA_FOUND;",
}


@pytest.fixture
def moved(application: Application, tmp_path: Path) -> Application:
    for number in (1, 2):
        application.business(number)
    words("row a name=a", "row b name=b", "stage 1 1 a b b", "stage 2 1 b")(application)
    application.snapshot()
    answer = verb(application, tmp_path, "run", "--default-business", business(1))
    assert answer.code == 0, answer.err
    return application


@pytest.mark.parametrize("body", KEEPERS.values(), ids=KEEPERS)
def test_rows_that_a_trigger_keeps_are_not_told_as_removed(moved: Application, tmp_path: Path, body: str) -> None:
    moved.execute(trigger("templates", "BEFORE DELETE", body))
    rows, whole = moved.rows(ROWS), moved.rows(WHOLE)

    kept = verb(moved, tmp_path, "rollback")

    keys = [key for (key,) in rows]
    assert (kept.code, lost(kept)) == (3, {"kept": keys}), kept.err
    assert "secret" not in kept.err + kept.out
    assert moved.rows(WHOLE) == whole, "neither gone nor marked"
    assert moved.rows(STAGES) == moved.rows("SELECT * FROM before.stages ORDER BY 1")
    assert moved.value(MILESTONE) == "copying"
    accepted = verb(moved, tmp_path, "rollback", "--accept-loss")
    assert (accepted.code, lost(accepted)) == (0, {"kept": keys}), accepted.err
    assert accepted.json["rollback"]["removed"] == 0
    assert moved.rows(ROWS) == rows


def test_a_trigger_that_keeps_rows_is_disabled_and_the_rollback_goes_on(
    application: Application, tmp_path: Path
) -> None:
    application.business(1)
    words("row a", "row b", "stage 1 1 a b")(application)
    before = world(application)
    assert verb(application, tmp_path, "run").code == 0
    application.execute(trigger("templates", "BEFORE DELETE", "RETURN NULL;"))
    assert verb(application, tmp_path, "rollback").code == 3
    application.execute("DROP TRIGGER meddler ON templates; DROP FUNCTION meddle()")
    answer = verb(application, tmp_path, "rollback")
    assert (answer.code, answer.json["rollback"]["removed"], lost(answer)) == (0, 2, {}), answer.err
    assert world(application) == before


def test_one_row_that_a_trigger_keeps_keeps_no_other_one(moved: Application, tmp_path: Path) -> None:
    body = "IF OLD.template_name ~ 'a$' THEN RETURN NULL; END IF; RETURN OLD;"
    moved.execute(trigger("templates", "BEFORE DELETE", body))
    answer = verb(moved, tmp_path, "rollback", "--accept-loss")
    assert (answer.code, answer.json["rollback"]["removed"]) == (0, 1), answer.err
    assert [[key] for key in lost(answer)["kept"]] == [list(row) for row in moved.rows(ROWS)]


def test_rows_edited_between_the_switch_back_and_their_removal_are_named(moved: Application, tmp_path: Path) -> None:
    """The edit comes in the transaction of the switch back, after it has looked for edits."""
    moved.execute(trigger("stages", "AFTER UPDATE", "UPDATE templates SET content = 'edited'; RETURN NULL;"))
    keys = [key for (key,) in moved.rows(ROWS)]
    answer = verb(moved, tmp_path, "rollback")
    assert (answer.code, lost(answer)) == (3, {"edited": keys}), answer.err
    assert moved.value(MILESTONE) == "copying"
    assert moved.rows(STAGES) == moved.rows("SELECT * FROM before.stages ORDER BY 1")
    answer = verb(moved, tmp_path, "rollback", "--accept-loss")
    assert (answer.code, lost(answer)) == (0, {"edited": keys})


@pytest.mark.parametrize("name", REFERENCES)
def test_references_that_a_trigger_meddles_with_do_not_count_as_brought_back(
    moved: Application, tmp_path: Path, name: str
) -> None:
    moved.execute(REFERENCES[name])
    before = moved.rows(STAGES)
    answer = verb(moved, tmp_path, "rollback")
    assert answer.code == 3, answer.err
    assert "public.stages did not take what UPDATE asked of it" in answer.err
    assert "trigger meddler" in answer.err
    assert moved.rows(STAGES) == before
    assert moved.value(MILESTONE) == "switched"
    moved.execute("DROP TRIGGER meddler ON stages")
    assert verb(moved, tmp_path, "rollback").code == 0


@pytest.mark.parametrize(
    "body",
    [
        "RETURN NULL;",
        "NEW.template_text := upper(NEW.template_text); RETURN NEW;",
        "RAISE 'x' USING ERRCODE = 'APP01';",
    ],
    ids=["keeps", "changes", "refuses"],
)
def test_an_edit_that_the_old_table_does_not_take_is_named(moved: Application, tmp_path: Path, body: str) -> None:
    key = moved.value("SELECT target_id::text FROM pipelines.id_map WHERE source_id = 'a'")
    moved.execute("UPDATE templates SET content = 'edited' WHERE template_id = %s", (key,))
    where = moved.value("SELECT retired_schema FROM pipelines.move")
    moved.execute(trigger(f"{where}.prompt_templates", "BEFORE UPDATE", body))
    answer = verb(moved, tmp_path, "rollback")
    assert (answer.code, lost(answer)) == (3, {"does_not_fit": [key]}), answer.err
    answer = verb(moved, tmp_path, "rollback", "--accept-loss")
    assert (answer.code, lost(answer)) == (0, {"does_not_fit": [key]}), answer.err
    assert moved.value("SELECT template_text FROM prompt_templates WHERE template_id = 'a'") == "T"
    assert moved.rows(ROWS) == [(key,)], "it stays, with its edit"


@pytest.mark.parametrize(
    "body", ["RETURN NULL;", "RAISE 'x' USING ERRCODE = 'APP01';"], ids=["keeps", "refuses"]
)  # fmt: skip
def test_a_deletion_that_the_old_table_does_not_take_is_named(moved: Application, tmp_path: Path, body: str) -> None:
    moved.execute("UPDATE stages SET stage_selection_template_id = NULL")
    moved.execute("DELETE FROM templates USING pipelines.id_map WHERE target_id = template_id AND source_id = 'a'")
    where = moved.value("SELECT retired_schema FROM pipelines.move")
    moved.execute(trigger(f"{where}.prompt_templates", "BEFORE DELETE", body))
    answer = verb(moved, tmp_path, "rollback")
    assert (answer.code, lost(answer)) == (3, {"deletion_comes_back": ["a"]}), answer.err
    answer = verb(moved, tmp_path, "rollback", "--accept-loss")
    assert (answer.code, lost(answer), answer.json["rollback"]["deletions_back"]) == (
        0, {"deletion_comes_back": ["a"]}, 0,
    )  # fmt: skip
    assert moved.value("SELECT count(*) FROM prompt_templates") == 2
