"""A database that was dumped and restored is one like any other: the journal recognises the tables, takes no number of
the old place for its own, and every verb goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import oracle
from tests.application import Application
from tests.command import Answer, call
from tests.conftest import empty_database
from tests.postgres_tools import contents, dump, restore

A, B = (f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2))
OLDER = "00000001-aaaa-4aaa-8aaa-aaaaaaaaaaaa"  # a row of the new table that no old row becomes
MILESTONES = ("copying", "checked", "switched", "retired", "confirmed", "purged", "rolled_back")
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
FOLLOWS = "SELECT conname, convalidated FROM pg_constraint WHERE conname = 'follows'"


@pytest.fixture
def filled(application: Application) -> Application:
    for number in (1, 2):
        application.business(number)
    for key in ("shared", "own", "alone"):
        application.template(key, f"text of {key}", description="said")
    application.stage(1, A, "shared", "own")
    application.stage(2, B, "shared")
    application.execute(
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
        " VALUES (%s, %s, 'older', 't', 'of the newer kind');",
        (OLDER, A),
    )
    application.execute(
        "ALTER TABLE stages ADD CONSTRAINT follows FOREIGN KEY (stage_selection_template_id) REFERENCES prompt_templates"
    )
    application.snapshot()
    return application


@pytest.fixture
def verb(tmp_path: Path) -> Callable[..., Answer]:
    """A verb on this database."""

    def ask(application: Application, name: str, *arguments: str) -> Answer:
        more = {
            "plan": ("--default-business", "Business 1"),
            "run": ("--default-business", "Business 1", "--grace", "0s", "--report-dir", str(tmp_path), "--yes"),
            "verify": ("--report-dir", str(tmp_path)),
            "rollback": ("--report-dir", str(tmp_path), "--yes"),
            "purge": ("--report-dir", str(tmp_path), "--yes", "--archive", str(tmp_path / "archive")),
        }
        return call(name, "--json", *more.get(name, ()), *arguments, DATABASE_URL=application.url)

    return ask


@pytest.fixture
def come_to(filled: Application, begin, verb) -> Callable[[str], None]:
    """Make the move as far as this."""

    def make(milestone: str) -> None:
        going = begin(default_business="Business 1")
        going.copy()
        for name, phase in (("copying", None), ("checked", "verify"), ("switched", "switch"), ("retired", "retire")):
            if phase is not None:
                getattr(going, phase)()
            if name == milestone:
                return
        going.confirm()
        if milestone == "purged":
            assert verb(filled, "purge").code == 0
        if milestone == "rolled_back":
            assert verb(filled, "rollback").code == 0

    return make


@contextmanager
def restored(application: Application, server: str, file: Path, *options: str) -> Iterator[Application]:
    """A new database with everything that is in this one; more transactions have gone by than when it was written."""
    dump(application, file, *options)
    with empty_database(server) as url, Application(url) as found:
        restore(file, found)
        yield found


def numbers_are_of_here(application: Application) -> None:
    """Tables and database, as the catalog has them."""
    old = "to_regclass(coalesce(m.retired_schema, 'public') || '.prompt_templates')::oid"
    assert application.rows(
        f"SELECT m.source_oid = coalesce({old}, m.source_oid), m.target_oid = 'templates'::regclass,"
        " split_part(m.place, '/', 2) = d.oid::text FROM pipelines.move m, pg_database d WHERE d.datname = current_database()"
    ) == [(True, True, True)]


@pytest.mark.parametrize("milestone", MILESTONES)
def test_a_restored_move_is_completed(
    filled: Application, server: str, come_to, verb, tmp_path: Path, milestone: str
) -> None:
    come_to(milestone)
    with restored(filled, server, tmp_path / "dump") as app:
        before = app.places()
        for name in ("status", "plan", "verify"):
            answer = verb(app, name)
            assert answer.code == 0, (name, answer.err)
        assert app.places() == before, "reading verbs leave everything alone"
        if milestone in ("copying", "checked", "rolled_back"):
            app.template("newer", "a row that came here")
            app.execute("UPDATE prompt_templates SET template_text = 'changed here' WHERE template_id = 'alone'")
            app.execute(
                "DROP TABLE before.prompt_templates; CREATE TABLE before.prompt_templates AS TABLE prompt_templates"
            )
        answer = verb(app, "run")
        assert answer.code == 0, answer.err
        numbers_are_of_here(app)
        if milestone != "purged":
            assert oracle.violations(app, A) == {}
        assert verb(app, "run").code == 0
        assert verb(app, "verify").code == 0
        assert verb(app, "status").json["state"] == ("purged" if milestone == "purged" else "done")


@pytest.mark.parametrize("milestone", MILESTONES)
def test_a_restored_move_is_taken_back_and_made_again(
    filled: Application, server: str, come_to, verb, tmp_path: Path, milestone: str
) -> None:
    come_to(milestone)
    with restored(filled, server, tmp_path / "dump") as app:
        archive = ("--archive", str(tmp_path / "archive")) if milestone == "purged" else ()
        before = app.places()
        preview = verb(app, "rollback", "--dry-run", *archive)
        assert preview.code == 0, preview.err
        assert app.places() == before
        switched = milestone in ("switched", "retired", "confirmed", "purged")
        lost = {loss["kind"]: loss["keys"] for loss in preview.json["rollback"]["losses"]}
        assert lost == ({"perhaps_created_since": [OLDER]} if switched else {}), "no old number says that it is newer"
        answer = verb(app, "rollback", *archive, *(("--accept-loss",) if switched else ()))
        assert answer.code == 0, answer.err
        was = {
            "prompt_templates": "before.prompt_templates",
            "stages": "before.stages",
            "templates": "before.templates",
        }
        for table, old in was.items():
            assert contents(app, table)[table] == contents(app, old)[old], table
        assert app.rows(FOLLOWS) == [("follows", True)]
        app.template("free again")
        assert verb(app, "run").code == 0
        numbers_are_of_here(app)


def test_a_restored_move_is_purged_and_comes_back_from_its_archive(
    filled: Application, server: str, come_to, verb, tmp_path: Path
) -> None:
    come_to("confirmed")
    with restored(filled, server, tmp_path / "dump") as app:
        answer = verb(app, "purge")
        assert answer.code == 0, answer.err
        with restored(app, server, tmp_path / "second") as again:
            answer = verb(again, "rollback", "--archive", str(tmp_path / "archive"), "--accept-loss")
            assert answer.code == 0, answer.err
            assert contents(again, "prompt_templates")["prompt_templates"] == filled.rows(
                "SELECT * FROM before.prompt_templates ORDER BY 1"
            )
            assert again.rows("SELECT * FROM stages ORDER BY 1") == filled.rows(
                "SELECT * FROM before.stages ORDER BY 1"
            )


def test_roles_of_a_purged_table_that_another_server_does_not_have_are_named(
    filled: Application, come_to, verb, tmp_path: Path
) -> None:
    filled.execute(
        'CREATE ROLE "The Keeper"; CREATE ROLE archive_reader; ALTER TABLE prompt_templates OWNER TO "The Keeper";'
        "GRANT SELECT ON prompt_templates TO archive_reader"
    )
    come_to("purged")
    filled.execute('DROP ROLE "The Keeper"; DROP ROLE archive_reader')
    back = ("--archive", str(tmp_path / "archive"), "--accept-loss")
    answer = verb(filled, "rollback", *back)
    assert answer.code == 3, answer.err
    assert [blocker["code"] for blocker in answer.json["blockers"]] == ["missing_role", "missing_role"]
    for blocker in answer.json["blockers"]:
        filled.execute(blocker["remedy"])
    answer = verb(filled, "rollback", *back)
    assert answer.code == 0, answer.err
    assert contents(filled, "prompt_templates")["prompt_templates"] == filled.rows(
        "SELECT * FROM before.prompt_templates ORDER BY 1"
    )
    filled.execute(
        'REASSIGN OWNED BY "The Keeper" TO postgres; DROP OWNED BY archive_reader; DROP ROLE "The Keeper", archive_reader'
    )


WRONG = {
    "an old row is not as it was": "ALTER TABLE {old} DISABLE TRIGGER pipelines_frozen;"
    "UPDATE {old} SET template_text = 'another' WHERE template_id = 'own'; ALTER TABLE {old} ENABLE ALWAYS TRIGGER"
    " pipelines_frozen",
    "an old row is not there": "ALTER TABLE {old} DISABLE TRIGGER pipelines_frozen;"
    "DELETE FROM {old} WHERE template_id = 'own'; ALTER TABLE {old} ENABLE ALWAYS TRIGGER pipelines_frozen",
    "the old table is not there": "DROP SCHEMA {schema} CASCADE",
    "the new rows are not there": "TRUNCATE templates",
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_as_the_journal_knows_it_is_refused_by_every_verb_that_writes(
    filled: Application, server: str, come_to, verb, tmp_path: Path, what: str
) -> None:
    come_to("confirmed")
    schema = filled.value("SELECT retired_schema FROM pipelines.move")
    with restored(filled, server, tmp_path / "dump") as app:
        app.execute(WRONG[what].format(old=f"{schema}.prompt_templates", schema=schema))
        before = app.places()
        for name in ("plan", "run", "rollback", "purge"):
            answer = verb(app, name)
            assert answer.code == 3, (name, answer.out)
            assert "not_as_restored" in {blocker["code"] for blocker in answer.json["blockers"]}, answer.out
            assert any(f"public, pipelines, {schema}" in blocker["remedy"] for blocker in answer.json["blockers"])
        assert app.places() == before


def test_a_clone_in_the_same_cluster_and_the_same_numbers_in_another_one_are_other_places(
    filled: Application, server: str, come_to, verb, tmp_path: Path
) -> None:
    come_to("switched")
    with restored(filled, server, tmp_path / "dump") as app:
        assert verb(app, "run").code == 0
        name = app.value("SELECT current_database()")
        app.__exit__()  # a database that is copied has no other sessions
        filled.execute(END_SESSIONS, (name,))
        with empty_database(server, template=name) as url, Application(url) as clone:
            assert clone.value("SELECT source_oid FROM pipelines.move") == clone.value(
                "SELECT c.oid FROM pg_class c JOIN pipelines.move m ON c.relnamespace::regnamespace::text = m.retired_schema"
                " WHERE relname = 'prompt_templates'"
            )
            assert verb(clone, "run").code == 0
            numbers_are_of_here(clone)
            clone.execute("UPDATE pipelines.move SET place = '1' || place, switched_xmin = '1'")
            answer = verb(clone, "rollback", "--dry-run")
            assert {loss["kind"] for loss in answer.json["rollback"]["losses"]} == {"perhaps_created_since"}
