"""What somebody does to the old table between the switch and the retirement: it may not leave with what was written
there, nor another table in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

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
