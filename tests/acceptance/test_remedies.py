"""Blockers that are about rows and earlier attempts: nothing was changed, and what the remedy says works."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.application import Application
from tests.command import Answer, run_here

U1 = "00000001-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


@pytest.fixture
def move(application: Application, tmp_path: Path) -> Callable[..., Answer]:
    """`run` on a database with two businesses and one row that the first of them uses."""
    application.stage(1, application.business(1), application.template("a"))
    application.business(2)

    def call(*arguments: str) -> Answer:
        options = ("--json", "--grace", "0s", "--report-dir", str(tmp_path))
        return run_here("run", *options, *arguments, DATABASE_URL=application.url)

    return call


def refused(application: Application, call: Callable[[], Answer]) -> tuple[str, str]:
    """The one blocker's code and remedy; nothing was changed by the refusal."""
    before = (application.places(), application.catalog())
    answer = call()
    assert answer.code == 3, answer.err
    assert "Traceback" not in answer.err
    assert (application.places(), application.catalog()) == before
    (blocker,) = answer.json["blockers"]
    assert blocker["remedy"] in re.sub(r"\s+", " ", answer.err) or blocker["remedy"].split()[0] in answer.err
    return blocker["code"], blocker["remedy"]


def test_rows_without_an_owner_and_the_command_that_gives_them_one(application: Application, move) -> None:
    application.template("alone")
    code, remedy = refused(application, move)
    assert code == "no_owner"
    assert "Business 1, Business 2" in remedy, "nobody is suggested, everybody is named"
    command = shlex.split(remedy.split("python -m pipelines.templates ")[1].split(" Or ")[0])
    assert command[0] == "plan", "nothing is done before it has been looked at"
    command = [word.replace("OWNER", "Business 2") for word in command]
    assert run_here(*command, DATABASE_URL=application.url).code == 0
    assert move(*command[1:]).code == 0
    assert application.value("SELECT owner_rule FROM pipelines.id_map WHERE source_id = 'alone'") == "default"


def test_a_default_business_that_is_not_there(application: Application, move) -> None:
    code, remedy = refused(application, lambda: move("--default-business", "Business"))
    assert code == "unknown_default_owner"
    assert "public.businesses" in remedy
    assert move("--default-business", "Business 2").code == 0


def test_a_file_of_owners_that_names_what_is_not_there(application: Application, move, tmp_path: Path) -> None:
    file = tmp_path / "owners.csv"
    owner = application.value("SELECT max(business_id::text) FROM businesses")
    file.write_text(f"source_id,business_id\na,{owner}\nb,{owner}\n", encoding="utf-8")
    code, remedy = refused(application, lambda: move("--owners", str(file)))
    assert (code, remedy) == ("unknown_in_owners_file", "Put the line right or take it out.")
    file.write_text(f"source_id,business_id\na,{owner}\n", encoding="utf-8")
    assert move("--owners", str(file)).code == 0


def test_two_spellings_of_one_id(application: Application, move) -> None:
    application.execute(
        "UPDATE stages SET stage_selection_template_id = NULL;"
        "ALTER TABLE stages ALTER stage_selection_template_id TYPE uuid USING NULL"
    )
    application.template(U1)
    application.template(U1.upper())
    code, remedy = refused(application, lambda: move("--default-business", "Business 1"))
    assert code == "ambiguous_ids"
    assert "Delete one of the two rows of prompt_templates" in remedy
    application.execute("DELETE FROM prompt_templates WHERE template_id = %s", (U1,))
    assert move("--default-business", "Business 1").code == 0


def test_a_new_table_of_the_old_name_after_the_move(application: Application, move) -> None:
    assert move().code == 0
    application.execute("CREATE TABLE prompt_templates (template_id text)")
    assert refused(application, move) == ("new_source", "Rename the new table away, then run again.")
    application.execute("ALTER TABLE prompt_templates RENAME TO aside")
    assert move().code == 0


@pytest.mark.parametrize("table", ["prompt_templates", "templates"])
def test_another_table_than_the_one_that_the_move_began_with(application: Application, move, table: str) -> None:
    assert move("--until", "copy").code == 0
    application.execute(
        f"ALTER TABLE {table} RENAME TO aside; CREATE TABLE {table} (LIKE aside INCLUDING ALL);"
        f"INSERT INTO {table} SELECT * FROM aside"
    )
    code, _ = refused(application, move)
    assert code == "other_table"
    application.execute(f"DROP TABLE {table}; ALTER TABLE aside RENAME TO {table}")
    assert move().code == 0


def test_another_version_of_the_mapping_goes_on_with_nothing(application: Application, move) -> None:
    assert move("--until", "copy").code == 0
    began = application.value("SELECT mapping FROM pipelines.move")
    application.execute("UPDATE pipelines.move SET mapping = 'another'")
    code, remedy = refused(application, move)
    assert code == "other_mapping"
    assert "code_version in pipelines.run" in remedy
    application.execute("UPDATE pipelines.move SET mapping = %s", (began,))
    assert move().code == 0


def owners(file: Path, **named: str) -> tuple[str, str]:
    lines = [f"{key},{owner}" for key, owner in named.items()]
    file.write_text("\n".join(["source_id,business_id", *lines, ""]), encoding="utf-8")
    return "--owners", str(file)


A, B = (f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2))
FIRST = ("--default-business", "Business 1")
SECOND = ("--default-business", "Business 2")
# What an earlier run was given, what a later one is given; who is named where it makes a difference, else nobody.
OTHERWISE = {
    "another default": (FIRST, {}, SECOND, {}, [("alone", A)]),
    "the same default by its id": (FIRST, {}, ("--default-business", A), {}, []),
    "no default any more": (FIRST, {}, (), {}, []),
    "another default of no row": (FIRST, {"alone": B}, SECOND, {}, []),
    "the other owner by a file": (FIRST, {}, (), {"alone": B}, [("alone", A)]),
    "the same owner by a file": (FIRST, {}, (), {"alone": A}, []),
    "another file": ((), {"alone": A}, (), {"alone": B}, [("alone", A)]),
    "a file that names the row no more": ((), {"alone": A}, (), {"a": A}, [("alone", A)]),
    "a file against the references": (FIRST, {}, (), {"a": B}, [("a", A)]),
    "a file that names a copy": (FIRST, {}, (), {"shared": B}, [("shared", A)]),
    "a file against a row that was there": (FIRST, {}, (), {U1: B}, []),
    "no file any more": ((), {"alone": B}, (), {}, []),
}


@pytest.mark.parametrize("until", [("--until", "copy"), ("--until", "verify"), ()], ids=["copied", "checked", "done"])
@pytest.mark.parametrize("case", OTHERWISE)
def test_owners_that_are_decided_are_not_passed_over(
    application: Application, move, tmp_path: Path, case: str, until: tuple[str, ...]
) -> None:
    first, first_file, second, second_file, named = OTHERWISE[case]
    application.template("alone")
    application.template("shared")
    application.template(U1, "there", template_name="n", template_type="t")
    for number, business in ((5, A), (6, A), (7, B)):
        application.stage(number, business, "shared")
    application.execute(
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
        " VALUES (%s, %s, 'n', 't', 'there')",
        (U1, A),
    )
    given = owners(tmp_path / "first.csv", **first_file) if first_file else ()
    assert move(*first, *given, *until).code == 0
    before = application.rows("SELECT source_id, owner_id, owner_rule FROM pipelines.id_map")
    again = (*second, *(owners(tmp_path / "second.csv", **second_file) if second_file else ()))
    if not named:
        assert move(*again).code == 0
        after = application.rows("SELECT source_id, owner_id, owner_rule FROM pipelines.id_map")
        assert set(before) <= set(after)
        return
    answer = move(*again)
    (blocker,) = answer.json["blockers"]
    assert (answer.code, blocker["code"]) == (3, "owner_is_decided")
    for key, owner in named:
        assert f"{key!r} to {owner}" in blocker["message"]
    assert "would give 1 row to another owner" in blocker["message"]
    assert move(*first).code == 0, "the first way on"
    rollback = shlex.split(re.search(r"\(python -m pipelines\.templates (.*?)\)", blocker["remedy"])[1])
    assert run_here(*rollback, "--report-dir", str(tmp_path), DATABASE_URL=application.url).code == 0, "the second"
    default = () if "--default-business" in again else SECOND
    assert move(*again, *default).code == 0
    primary = "SELECT source_id, owner_id FROM pipelines.id_map WHERE owner_rule <> 'copy'"
    assert not set(named) & set(application.rows(primary))
