"""What somebody does to the old table between the switch and the retirement: it may not leave with what was written
there, nor another table in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.table_move.database.going_back import switch_back
from pipelines.table_move.errors import Blocked
from tests.application import Application
from tests.command import call

WRITE = "UPDATE prompt_templates SET template_text = 'written late' WHERE template_id = 'a'"
THAWED = {
    "disabled": "ALTER TABLE prompt_templates DISABLE TRIGGER pipelines_frozen",
    "for the origin only": "ALTER TABLE prompt_templates ENABLE TRIGGER pipelines_frozen",
    "dropped": "DROP TRIGGER pipelines_frozen ON prompt_templates",
}


@pytest.fixture
def filled(application: Application) -> Application:
    application.stage(1, application.business(1), application.template("a"))
    return application


def run(application: Application, reports: Path, verb: str = "run") -> tuple[int, list[dict[str, str]], str]:
    arguments = ("--json", "--yes", "--report-dir", str(reports))
    answer = call(verb, *arguments, DATABASE_URL=application.url)
    return answer.code, answer.json["blockers"], answer.err


@pytest.mark.parametrize("what", THAWED)
def test_a_table_that_is_not_frozen_is_not_retired_and_the_remedy_freezes_it(
    filled: Application, begin, tmp_path: Path, what: str
) -> None:
    going = begin()
    going.copy()
    going.verify()
    going.switch()
    filled.execute(THAWED[what])
    with pytest.raises(Blocked) as caught:
        going.retire()
    assert [blocker.code for blocker in caught.value.blockers] == ["not_frozen"]
    assert filled.value("SELECT milestone FROM pipelines.move") == "switched"
    code, blockers, _ = run(filled, tmp_path)
    assert (code, [blocker["code"] for blocker in blockers]) == (3, ["not_frozen"])
    filled.execute(blockers[0]["remedy"])
    assert run(filled, tmp_path)[0] == 0
    assert filled.value("SELECT tgenabled FROM pg_trigger WHERE tgname = 'pipelines_frozen'") == "A"


@pytest.mark.parametrize("way", ["undone", "taken back"])
def test_what_was_written_in_spite_of_the_freeze_does_not_leave_with_the_old_table(
    filled: Application, begin, tmp_path: Path, way: str
) -> None:
    going = begin()
    going.copy()
    going.verify()
    going.switch()
    before = filled.value("SELECT template_text FROM prompt_templates")
    filled.execute(
        f"{THAWED['disabled']}; {WRITE}; ALTER TABLE prompt_templates ENABLE ALWAYS TRIGGER pipelines_frozen"
    )
    with pytest.raises(Blocked) as caught:
        going.retire()
    assert [blocker.code for blocker in caught.value.blockers] == ["written_while_frozen"]
    code, blockers, _ = run(filled, tmp_path)
    assert (code, [blocker["code"] for blocker in blockers]) == (3, ["written_while_frozen"])
    if way == "undone":
        filled.execute(
            f"{THAWED['disabled']}; UPDATE prompt_templates SET template_text = %s;"
            "ALTER TABLE prompt_templates ENABLE ALWAYS TRIGGER pipelines_frozen",
            (before,),
        )
    else:
        assert run(filled, tmp_path, "rollback")[0] == 0
        assert filled.value("SELECT template_text FROM prompt_templates") == "written late"
    assert run(filled, tmp_path)[0] == 0
    assert filled.value("SELECT content FROM templates") == (before if way == "undone" else "written late")


def test_another_table_of_the_name_is_not_retired(filled: Application, begin, tmp_path: Path) -> None:
    going = begin()
    going.copy()
    going.verify()
    going.switch()
    filled.execute(
        "ALTER TABLE prompt_templates RENAME TO aside; CREATE TABLE prompt_templates (LIKE aside INCLUDING ALL);"
        "INSERT INTO prompt_templates TABLE aside"
    )
    with pytest.raises(Blocked) as caught:
        going.retire()
    assert [blocker.code for blocker in caught.value.blockers] == ["other_table"]
    filled.execute("DROP TABLE prompt_templates; ALTER TABLE aside RENAME TO prompt_templates")
    assert run(filled, tmp_path)[0] == 0


REMADE = {
    "made anew": "ALTER TABLE templates DROP COLUMN content; ALTER TABLE templates ADD COLUMN content text DEFAULT 'x'",
    "with traded names": "ALTER TABLE templates RENAME content TO aside; ALTER TABLE templates RENAME template_name TO content;"
    "ALTER TABLE templates RENAME aside TO template_name",
}


@pytest.mark.parametrize("after", ["switched", "confirmed"])
@pytest.mark.parametrize("what", REMADE)
def test_columns_of_the_target_that_are_other_ones_since_the_switch_do_not_overwrite_old_texts(
    filled: Application, begin, tmp_path: Path, what: str, after: str
) -> None:
    before = filled.rows("SELECT * FROM prompt_templates")
    going = begin()
    going.copy()
    going.verify()
    going.switch()
    if after == "confirmed":
        going.retire()
        going.confirm()
    filled.execute(REMADE[what])
    arguments = ("rollback", "--json", "--yes", "--report-dir", str(tmp_path))
    answer = call(*arguments, DATABASE_URL=filled.url)
    assert answer.code == 3, answer.err
    lost = {blocker["code"]: blocker["message"] for blocker in answer.json["blockers"]}
    assert "content" in lost["other_columns"]
    assert call(*arguments, "--accept-loss", DATABASE_URL=filled.url).code == 0
    assert filled.rows("SELECT * FROM prompt_templates") == before


def test_ddl_between_the_look_and_the_locks_of_the_way_back_is_refused(
    filled: Application, begin, tmp_path: Path
) -> None:
    going = begin()
    going.copy()
    going.verify()
    going.switch()
    filled.execute(REMADE["made anew"])
    with pytest.raises(Blocked, match=r"templates\.content is another column"):
        switch_back(going.attempt, accept=lambda found: None)
