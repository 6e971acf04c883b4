"""Rollback after a day's work in the new world: where each kind of change lands, and that the list of what has no place
is complete. Judged by plain SQL."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.test_cases import KEYS_TO_OLD, TEXT_TO_UUID, business, words
from tests.acceptance.test_up_down_up import verb, world
from tests.application import Application
from tests.command import Answer, call

U1, U2 = "00000001-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "00000002-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
NEW = "00000009-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
OLD_ROWS = "SELECT template_id, template_text, template_name, template_type FROM prompt_templates ORDER BY 1"
HOLDS = "SELECT stage_selection_template_id::text FROM stages WHERE stage_id::text LIKE %s"


@pytest.fixture
def moved(application: Application, tmp_path: Path) -> Callable[..., Application]:
    """The move is done for a database in words."""

    def move(*sentences: str, more: tuple[str, ...] = ()) -> Application:
        for number in (1, 2, 3):
            application.business(number)
        words(*sentences)(application)
        answer = verb(application, tmp_path, "run", "--default-business", business(1), *more)
        assert answer.code == 0, answer.err
        return application

    return move


def new_id(app: Application, source_id: str, owner: int = 1) -> str:
    return app.value(
        "SELECT target_id::text FROM pipelines.id_map WHERE source_id = %s AND owner_id = %s::uuid",
        (source_id, business(owner)),
    )


def holds(app: Application, stage: int) -> str | None:
    return app.value(HOLDS, (f"%{10_000 + stage:x}",))


def lost(answer: Answer) -> dict[str, list[str]]:
    return {loss["kind"]: loss["keys"] for loss in answer.json["rollback"]["losses"]}


def back(app: Application, folder: Path, expected: dict[str, list[str]]) -> Answer:
    """The dry run and the refusal list what is expected and change nothing; then it is accepted."""
    places = app.places()
    preview = verb(app, folder, "rollback", "--dry-run")
    assert (preview.code, lost(preview)) == (0, expected), preview.err
    if expected:
        refused = verb(app, folder, "rollback")
        assert (refused.code, lost(refused)) == (3, expected), refused.err
        assert "Nothing was changed" in refused.err
        assert "python -m pipelines.templates rollback --accept-loss" in refused.err
    assert app.places() == places, "neither wrote anything"
    answer = verb(app, folder, "rollback", *(["--accept-loss"] if expected else []))
    assert answer.code == 0, answer.err
    assert (answer.json["state"], lost(answer)) == ("rolled_back", expected)
    went = ("references_back", "merged_back", "deletions_back")
    assert [answer.json["rollback"][name] for name in went] == [preview.json["rollback"][name] for name in went]
    return answer


def test_an_edit_goes_into_the_old_row_and_only_into_the_columns_that_were_edited(moved, tmp_path: Path) -> None:
    app = moved("row a name=_ description=first", "row b type=_", "row c", "stage 1 1 a b c")
    app.execute("UPDATE templates SET content = 'new text' WHERE template_id = %s", (new_id(app, "a"),))
    app.execute("UPDATE templates SET template_name = 'new name' WHERE template_id = %s", (new_id(app, "b"),))
    app.execute(
        "UPDATE templates SET template_type = 'new', content = 'twice' WHERE template_id = %s", (new_id(app, "c"),)
    )

    answer = back(app, tmp_path, {})

    assert app.rows(OLD_ROWS) == [
        ("a", "new text", None, "t"),
        ("b", "T", "new name", None),
        ("c", "twice", "n", "new"),
    ]
    assert (answer.json["rollback"]["merged_back"], answer.json["rollback"]["removed"]) == (3, 3)
    assert app.value("SELECT count(*) FROM templates") == 0


def test_the_primary_owners_edit_wins_and_an_edited_copy_stays(moved, tmp_path: Path) -> None:
    app = moved("row a", "stage 1 1 a a", "stage 2 2 a")
    copy = new_id(app, "a", 2)
    app.execute("UPDATE templates SET content = 'of one' WHERE template_id = %s", (new_id(app, "a"),))
    app.execute("UPDATE templates SET content = 'of two' WHERE template_id = %s", (copy,))

    back(app, tmp_path, {"edited": [copy]})

    assert app.rows(OLD_ROWS) == [("a", "of one", "n", "t")]
    assert (holds(app, 1), holds(app, 2)) == ("a", "a")
    assert app.rows("SELECT template_id::text, content FROM templates") == [(copy, "of two")]


def test_edits_of_rows_that_were_there_before_are_never_merged_back(moved, tmp_path: Path) -> None:
    app = moved("row a", f"row {U2}", f"there {U1} 1", f"there {U2} 1", "stage 1 1 a", f"stage 2 1 {U2}")
    app.execute("UPDATE templates SET content = 'edited'")

    back(app, tmp_path, {"edited_found": [U2, U1]})

    assert app.rows(OLD_ROWS) == [(U2, "T", "n", "t"), ("a", "T", "n", "t")]
    assert app.rows("SELECT DISTINCT content FROM templates") == [("edited",)]


def test_values_in_columns_that_the_old_table_does_not_have_stay(moved, tmp_path: Path) -> None:
    app = moved(
        "ALTER TABLE templates ADD is_default boolean DEFAULT false, ADD deleted_at timestamptz,"
        " ADD kind text DEFAULT '100 % ''plain''' NOT NULL, ADD rank serial, ADD words text[] DEFAULT '{}'",
        *(f"row {key}" for key in "abcde"), "stage 1 1 a b c", "stage 2 1 d e",
    )  # fmt: skip
    ids = {key: new_id(app, key) for key in "abcde"}
    for key, change in (
        ("a", "system_prompt = 'be nice'"), ("b", "is_default = true, content = 'and edited'"), ("c", "deleted_at = now()"),
        ("d", "kind = 'x', rank = 99"),
    ):  # fmt: skip
        app.execute(f"UPDATE templates SET {change} WHERE template_id = %s", (ids[key],))

    back(app, tmp_path, {"new_columns": [ids[key] for key in "abcd"]})

    assert app.value("SELECT template_text FROM prompt_templates WHERE template_id = 'b'") == "and edited"
    assert {key for (key,) in app.rows("SELECT template_id::text FROM templates")} == {ids[key] for key in "abcd"}


def test_rows_created_since_stay_and_are_listed_and_older_ones_are_not(moved, tmp_path: Path) -> None:
    app = moved("row a", f"there {U1} 2 text=other", "stage 1 1 a")
    words(f"there {NEW} 1 text=new", f"stage 2 1 {NEW}")(app)

    back(app, tmp_path, {"created_since": [NEW]})

    assert app.rows("SELECT template_id::text FROM templates ORDER BY 1") == [(U1,), (NEW,)]
    assert holds(app, 2) == NEW


def test_a_deletion_is_carried_back_where_nothing_else_needs_the_old_row(moved, tmp_path: Path) -> None:
    app = moved("row gone", "row copied", "row used", "stage 1 1 used", "stage 2 1 copied copied", "stage 3 2 copied")
    for key in ("gone", "copied", "used"):
        app.execute("DELETE FROM templates WHERE template_id = %s", (new_id(app, key),))
    app.execute("UPDATE stages SET stage_selection_template_id = NULL, data_extraction_template_id = NULL"
                " WHERE stage_selection_template_id::text <> %s", (new_id(app, "used"),))  # fmt: skip

    back(app, tmp_path, {"deletion_comes_back": ["copied", "used"]})

    assert [row[0] for row in app.rows(OLD_ROWS)] == ["copied", "used"]
    assert holds(app, 1) == "used"


def test_the_rows_of_a_deleted_business_stay_in_the_old_table(moved, tmp_path: Path) -> None:
    app = moved("row a", "row b", "stage 1 2 a", "stage 2 1 b")
    app.execute("DELETE FROM businesses WHERE business_id = %s", (business(2),))
    back(app, tmp_path, {})
    assert [row[0] for row in app.rows(OLD_ROWS)] == ["a", "b"]
    assert app.value("SELECT count(*) FROM templates") == 0


def test_references_go_back_whoever_wrote_them(moved, tmp_path: Path) -> None:
    app = moved(
        "row a", "row b", f"row {U2}", f"there {U1} 1 text=x", "row x text=x", "stage 1 1 a", f"stage 2 1 {U1} x", "stage 3 2 a",
    )  # fmt: skip
    assert new_id(app, "x") == U1, "adopted"
    app.stage(4, business(1), new_id(app, "b"))
    app.stage(5, business(1), U1)
    app.stage(6, business(3), new_id(app, "a", 2))
    app.stage(7, business(1), U2)
    app.execute(HOLDS.replace("SELECT stage_selection_template_id::text FROM stages",
                              f"UPDATE stages SET stage_selection_template_id = '{new_id(app, 'b')}'"),
                (f"%{10_001:x}",))  # fmt: skip

    answer = back(app, tmp_path, {})

    assert [holds(app, number) for number in range(1, 8)] == ["b", U1, "a", "b", "x", "a", U2]
    assert app.value("SELECT data_extraction_template_id FROM stages WHERE stage_selection_template_id = %s"
                     " AND data_extraction_template_id IS NOT NULL", (U1,)) == "x"  # fmt: skip
    assert answer.json["rollback"]["references_back"] == 6


def test_a_value_that_does_not_fit_the_old_column_stays_and_the_rest_of_the_edit_goes_back(
    moved, tmp_path: Path
) -> None:
    app = moved(
        "ALTER TABLE prompt_templates ALTER template_type TYPE varchar(5)",
        "ALTER TABLE prompt_templates ADD CHECK (template_text <> 'refused')",
        "ALTER TABLE templates ALTER content DROP NOT NULL",
        *(f"row {key}" for key in "abcd"), "stage 1 1 a b c", "stage 2 1 d",
    )  # fmt: skip
    ids = {key: new_id(app, key) for key in "abcd"}
    for key, change in (
        ("a", "template_type = 'longer', template_name = 'fits'"), ("b", "content = NULL"), ("d", "content = 'fits'"),
    ):  # fmt: skip
        app.execute(f"UPDATE templates SET {change} WHERE template_id = %s", (ids[key],))

    back(app, tmp_path, {"does_not_fit": [ids["a"], ids["b"]]})

    assert app.rows(OLD_ROWS) == [
        ("a", "T", "fits", "t"), ("b", "T", "n", "t"), ("c", "T", "n", "t"), ("d", "fits", "n", "t"),
    ]  # fmt: skip
    assert app.rows("SELECT template_id::text, template_type, content FROM templates ORDER BY 1") == sorted(
        [(ids["a"], "longer", "T"), (ids["b"], "t", None)]
    )


def test_what_only_the_database_refuses_is_found_under_the_locks_and_nothing_is_half_done(
    moved, tmp_path: Path
) -> None:
    app = moved(
        "ALTER TABLE prompt_templates ADD CHECK (template_text <> 'refused')", "row a", "row b", "stage 1 1 a b",
    )  # fmt: skip
    app.execute("UPDATE templates SET content = 'refused' WHERE template_id = %s", (new_id(app, "a"),))
    app.execute("UPDATE templates SET content = 'fits' WHERE template_id = %s", (new_id(app, "b"),))
    assert lost(verb(app, tmp_path, "rollback", "--dry-run")) == {}

    refused = verb(app, tmp_path, "rollback")

    assert (refused.code, lost(refused)) == (3, {"does_not_fit": [new_id(app, "a")]}), refused.err
    assert "frozen" in refused.err
    assert app.value("SELECT milestone FROM pipelines.move") == "switched"
    assert app.rows(OLD_ROWS) == [("a", "T", "n", "t"), ("b", "T", "n", "t")]
    assert verb(app, tmp_path, "rollback", "--accept-loss").code == 0
    assert app.rows(OLD_ROWS) == [("a", "T", "n", "t"), ("b", "fits", "n", "t")]
    assert app.rows("SELECT content FROM templates") == [("refused",)]


def test_a_row_given_to_another_owner_stays(moved, tmp_path: Path) -> None:
    app = moved("row a", "stage 1 1 a")
    app.execute("UPDATE templates SET business_id = %s", (business(3),))
    back(app, tmp_path, {"other_owner": [new_id(app, "a")]})
    assert app.value("SELECT count(*) FROM templates") == 1


def test_rows_that_a_foreign_key_refers_to_stay_unless_it_cascades(moved, tmp_path: Path) -> None:
    app = moved(
        "CREATE TABLE versions (template_id uuid REFERENCES templates)",
        "CREATE TABLE children (template_id uuid REFERENCES templates ON DELETE CASCADE)",
        "CREATE TABLE hints (template_id uuid REFERENCES templates ON DELETE SET NULL)",
        *(f"row {key}" for key in "abc"), "stage 1 1 a b c",
    )  # fmt: skip
    ids = {key: new_id(app, key) for key in "abc"}
    app.execute("INSERT INTO versions VALUES (%s), (NULL)", (ids["a"],))
    app.execute("INSERT INTO children VALUES (%s)", (ids["b"],))
    app.execute("INSERT INTO hints VALUES (%s)", (ids["c"],))

    back(app, tmp_path, {"referred_to": sorted([ids["a"], ids["c"]])})

    assert app.rows("SELECT template_id::text FROM templates ORDER BY 1") == [
        (key,) for key in sorted([ids["a"], ids["c"]])
    ]
    assert app.value("SELECT count(*) FROM children") == 0
    assert app.rows("SELECT template_id::text FROM hints") == [(ids["c"],)]


def test_a_reference_that_cannot_hold_its_old_id_stays_and_so_does_its_row(moved, tmp_path: Path) -> None:
    app = moved(TEXT_TO_UUID, "row slug", f"row {U1}", f"row {U2.upper()}", f"stage 1 1 {U1} {U2}", f"stage 2 2 {U1}")
    slug, upper = new_id(app, "slug"), new_id(app, U2.upper())
    app.stage(3, business(1), slug)
    app.stage(4, business(1), upper)
    key = app.value("SELECT stage_id::text FROM stages WHERE stage_selection_template_id = %s", (slug,))

    back(app, tmp_path, {"reference_does_not_fit": [f"stages/{key}/stage_selection_template_id"]})

    assert [holds(app, number) for number in (1, 2, 3, 4)] == [U1, U1, slug, U2]


def test_a_renamed_reference_column_is_named_and_goes_back_under_its_old_name(moved, tmp_path: Path) -> None:
    app = moved("row slug", f"row {U1}", f"stage 1 1 slug {U1}")
    rename = "ALTER TABLE stages RENAME COLUMN {} TO {}"
    app.execute(rename.format("stage_selection_template_id", "chosen"))
    answer = verb(app, tmp_path, "rollback")
    assert answer.code == 3, answer.err
    assert lost(answer) == {"reference_column_gone": ["stages.stage_selection_template_id"]}
    app.execute(rename.format("chosen", "stage_selection_template_id"))
    assert verb(app, tmp_path, "rollback").code == 0
    assert holds(app, 1) == "slug"


def test_a_reference_column_that_was_given_another_name_of_the_move_goes_back_under_it(moved, tmp_path: Path) -> None:
    app = moved("row slug", f"row {U1}", f"stage 1 1 slug {U1}")
    app.execute("ALTER TABLE stages RENAME COLUMN stage_selection_template_id TO selection_template_id")
    back(app, tmp_path, {})
    assert app.value("SELECT selection_template_id FROM stages") == "slug"


def test_a_reference_column_that_was_dropped_is_a_loss_to_accept(moved, tmp_path: Path) -> None:
    app = moved("row slug", f"row {U1}", f"stage 1 1 slug {U1}")
    app.execute("ALTER TABLE stages DROP COLUMN stage_selection_template_id")
    back(app, tmp_path, {"reference_column_gone": ["stages.stage_selection_template_id"]})


def test_a_foreign_key_that_new_rows_violate_comes_back_not_validated_and_is_named(moved, tmp_path: Path) -> None:
    app = moved("row a", "row b", "stage 1 1 a b", KEYS_TO_OLD)
    words(f"there {NEW} 1 text=new", f"stage 2 1 {NEW} a")(app)

    answer = back(app, tmp_path, {"created_since": [NEW]})

    assert answer.json["rollback"]["not_validated"] == ["stages_stage_selection_template_id_fkey"]
    assert app.rows("SELECT conname, convalidated FROM pg_constraint WHERE confrelid = 'prompt_templates'::regclass"
                    " ORDER BY 1") == [
        ("stages_data_extraction_template_id_fkey", True),
        ("stages_response_generation_template_id_fkey", True),
        ("stages_stage_selection_template_id_fkey", False),
    ]  # fmt: skip


def test_a_days_work_lands_where_it_belongs_and_the_list_is_complete(moved, tmp_path: Path) -> None:
    app = moved(
        "row edited", "row shared", "row gone", f"row {U1}", f"there {U2} 1 text=x", "row found text=x",
        "stage 1 1 edited shared found", "stage 2 2 shared", "stage 3 1 shared",
    )  # fmt: skip
    copy = new_id(app, "shared", 2)
    app.execute("UPDATE templates SET content = 'new' WHERE template_id IN (%s, %s)", (new_id(app, "edited"), copy))
    app.execute("UPDATE templates SET template_name = 'theirs' WHERE template_id = %s", (U2,))
    app.execute("DELETE FROM templates WHERE template_id IN (%s, %s)", (new_id(app, "gone"), new_id(app, "shared")))
    app.execute("UPDATE templates SET system_prompt = 'x' WHERE template_id = %s", (U1,))
    words(f"there {NEW} 3 text=new", f"stage 4 3 {NEW}", f"stage 5 1 {new_id(app, 'edited')}")(app)

    back(
        app,
        tmp_path,
        {
            "created_since": [NEW],
            "edited": [copy],
            "edited_found": [U2],
            "new_columns": [U1],
            "deletion_comes_back": ["shared"],
        },
    )

    assert app.rows(OLD_ROWS) == [
        (U1, "T", "n", "t"), ("edited", "new", "n", "t"), ("found", "x", "n", "t"), ("shared", "T", "n", "t"),
    ]  # fmt: skip
    assert [holds(app, number) for number in range(1, 6)] == ["edited", "shared", "shared", NEW, "edited"]
    assert {key for (key,) in app.rows("SELECT template_id::text FROM templates")} == {copy, U2, U1, NEW}


def test_what_would_stop_it_later_is_refused_at_once(moved, tmp_path: Path) -> None:
    app = moved("row a", "stage 1 1 a")
    for obstacle, undo, code, said in (
        ("CREATE TABLE prompt_templates (x int)", "DROP TABLE prompt_templates", "new_source", "RENAME"),
        (TEXT_TO_UUID, TEXT_TO_UUID.replace("uuid", "varchar(255)"), "column_cannot_hold",
         "python -m pipelines.migrations down --to 04"),
        ("CREATE RULE r AS ON DELETE TO templates DO INSTEAD NOTHING", "DROP RULE r ON templates", "rule", "DROP RULE"),
        ("ALTER TABLE templates RENAME TO aside; CREATE TABLE templates (LIKE aside INCLUDING ALL)",
         "DROP TABLE templates; ALTER TABLE aside RENAME TO templates", "other_table", "Put the table back"),
    ):  # fmt: skip
        app.execute(obstacle)
        places = app.places()
        for arguments in ((), ("--dry-run",)):
            answer = verb(app, tmp_path, "rollback", *arguments)
            assert (answer.code, [b["code"] for b in answer.json["blockers"]]) == (3, [code]), answer.err
            assert said in answer.err
        assert app.places() == places
        app.execute(undo)
    assert verb(app, tmp_path, "rollback").code == 0


def test_an_edit_from_before_the_switch_stays_and_is_listed(application: Application, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        application.business(number)
    words("row a", "row b", "stage 1 1 a b")(application)
    before = world(application)
    assert verb(application, tmp_path, "run", "--until", "verify").code == 0
    a = new_id(application, "a")
    application.execute("UPDATE templates SET content = 'too early' WHERE template_id = %s", (a,))
    words(f"there {NEW} 1 text=own")(application)

    back(application, tmp_path, {"edited": [a]})

    assert {key for (key,) in application.rows("SELECT template_id::text FROM templates")} == {a, NEW}
    application.execute("DELETE FROM templates")
    assert world(application) == before


def test_references_written_late_with_new_ids_are_put_right_by_a_second_rollback(moved, tmp_path: Path) -> None:
    app = moved("row a", "stage 1 1 a")
    a = new_id(app, "a")
    assert verb(app, tmp_path, "rollback").code == 0
    app.stage(2, business(1), a)
    again = verb(app, tmp_path, "rollback")
    assert (again.code, again.json["rollback"]["references_back"]) == (0, 1)
    assert holds(app, 2) == "a"


def test_the_command_that_a_refusal_names_works(moved, tmp_path: Path) -> None:
    app = moved("row a", "stage 1 1 a")
    words(f"there {NEW} 1 text=new")(app)
    refused = call("rollback", "--report-dir", str(tmp_path), DATABASE_URL=app.url)
    assert refused.code == 3
    command = shlex.split(refused.err[refused.err.index("python -m") :].splitlines()[0])
    assert command[:3] == ["python", "-m", "pipelines.templates"]
    assert call(*command[3:], "--report-dir", str(tmp_path), DATABASE_URL=app.url).code == 0


def test_after_05_it_says_to_take_05_down_first_and_that_works(moved, tmp_path: Path) -> None:
    app = moved("row a", f"row {U1}", "stage 1 1 a", f"stage 2 2 {U1} a", KEYS_TO_OLD)
    stages = "SELECT stage_selection_template_id, data_extraction_template_id FROM stages ORDER BY stage_id"
    migrations = {"module": "pipelines.migrations", "DATABASE_URL": app.url}
    up = call("up", **migrations)
    assert up.code == 0, up.err
    assert app.value("SELECT pg_typeof(stage_selection_template_id)::text FROM stages LIMIT 1") == "uuid"

    refused = verb(app, tmp_path, "rollback")

    assert (refused.code, {b["code"] for b in refused.json["blockers"]}) == (3, {"column_cannot_hold"}), refused.err
    command = re.search(r"python -m pipelines\.migrations (down --to 04)", refused.err)[1]
    down = call(*command.split(), "--yes", **migrations)
    assert down.code == 0, down.err
    answer = verb(app, tmp_path, "rollback")
    assert answer.code == 0, answer.err
    assert app.rows(stages) == [("a", None), (U1, "a")]
