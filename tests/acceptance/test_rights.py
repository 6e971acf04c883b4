"""A role with just the rights of sql/roles.sql makes the move; without one of them the plan says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.application import Application
from tests.command import ROOT, call, run


def as_mover(application: Application) -> str:
    for role in ("mover LOGIN", "keeper LOGIN"):
        application.execute(f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN END $$")
    # The application's role owns the old table alone: what mover gets by being a member of it is not more than it needs.
    application.execute("ALTER TABLE prompt_templates OWNER TO keeper")
    application.execute((ROOT / "sql" / "roles.sql").read_text(encoding="utf-8"))
    return application.url.replace("postgres:@", "mover@", 1)


@pytest.fixture
def mover(application: Application):
    business = application.business(1)
    application.template("x")
    application.stage(1, business, "x")
    yield as_mover(application)
    application.execute(
        "REASSIGN OWNED BY mover, keeper TO postgres; DROP OWNED BY mover, keeper; REVOKE keeper FROM mover"
    )


def test_the_documented_rights_are_enough(application: Application, mover: str, tmp_path: Path) -> None:
    answer = run(mover, tmp_path)
    assert answer.code == 0, answer.err
    assert application.value("SELECT count(*) FROM templates") == 1


@pytest.mark.parametrize(
    ("revoked", "named"),
    [
        ("REVOKE INSERT ON templates FROM mover", "INSERT"),
        ("REVOKE DELETE ON templates FROM mover", "DELETE"),
        ("REVOKE UPDATE ON stages FROM mover", "UPDATE"),
        ("REVOKE SELECT ON businesses FROM mover", "SELECT"),
        ("ALTER TABLE prompt_templates OWNER TO postgres; GRANT SELECT ON prompt_templates TO mover", "does not own"),
        (
            "DO $$ BEGIN EXECUTE format('REVOKE CREATE ON DATABASE %I FROM mover', current_database()); END $$",
            "schemas",
        ),
    ],
)
def test_a_missing_right_is_named_before_anything_is_written(
    application: Application, mover: str, revoked: str, named: str
) -> None:
    application.execute(revoked)
    answer = call("plan", "--json", DATABASE_URL=mover)
    assert answer.code == 3, answer.err
    assert any(named in blocker["message"] for blocker in answer.json["blockers"]), answer.json["blockers"]
    assert not application.exists("pipelines.run")


def test_the_application_goes_on_as_the_owner_before_and_after_and_reads_all_the_while(
    application: Application, mover: str, tmp_path: Path
) -> None:
    application.execute("GRANT SELECT ON templates, stages TO keeper")
    archive = ("--archive", str(tmp_path / "archive"))
    steps = (
        ("run", "--until", "verify", "--default-business", "Business 1"),
        ("rollback",),
        ("run", "--default-business", "Business 1"),
        ("purge", "--yes", *archive),
        ("rollback", *archive),
    )
    with Application(mover.replace("mover@", "keeper@")) as owner:
        for number, step in enumerate(steps):
            answer = call(*step, "--report-dir", str(tmp_path), DATABASE_URL=mover)
            assert answer.code == 0, (step, answer.err)
            assert owner.value("SELECT count(*) FROM stages") == 1
            if application.exists("public.prompt_templates"):
                owner.template(f"written by its owner {number}")
                owner.execute("UPDATE prompt_templates SET description = 'and changed'")
                assert owner.value("SELECT count(*) FROM prompt_templates WHERE description = 'and changed'") > 1
            else:
                assert owner.value("SELECT count(*) FROM templates") > 1
    assert application.value("SELECT tableowner FROM pg_tables WHERE tablename = 'prompt_templates'") == "keeper"


def test_a_role_that_does_not_inherit_gets_the_rights_of_roles_sql_too(application: Application, mover: str) -> None:
    application.execute("REVOKE keeper FROM mover; ALTER ROLE mover NOINHERIT")
    application.execute((ROOT / "sql" / "roles.sql").read_text(encoding="utf-8"))
    answer = call("plan", "--json", DATABASE_URL=mover)
    application.execute("ALTER ROLE mover INHERIT")
    assert answer.code == 0, answer.json["blockers"]


def test_the_documented_rights_are_enough_to_go_back_also_from_an_archive(
    application: Application, mover: str, tmp_path: Path
) -> None:
    reports = ("--json", "--report-dir", str(tmp_path))
    for purged in (False, True):
        assert run(mover, tmp_path).code == 0
        application.execute("UPDATE templates SET content = %s", (f"edited {purged}",))
        archive = ("--archive", str(tmp_path / "archive"))
        if purged:
            answer = call("purge", "--yes", *archive, *reports, DATABASE_URL=mover)
            assert answer.code == 0, answer.err
        answer = call("rollback", *(archive if purged else ()), *reports, DATABASE_URL=mover)
        assert answer.code == 0, answer.err
        assert application.rows("SELECT template_text FROM prompt_templates") == [(f"edited {purged}",)]


@pytest.mark.parametrize(
    ("revoked", "named"),
    [
        ("REVOKE CREATE ON SCHEMA public FROM mover, keeper", "no CREATE on the schema"),
        ("REVOKE DELETE ON templates FROM mover", "DELETE"),
        ("REVOKE UPDATE ON stages FROM mover", "UPDATE"),
        ("ALTER TABLE {old} OWNER TO postgres; GRANT SELECT ON {old} TO mover", "does not own"),
        ("REVOKE UPDATE, DELETE ON {old} FROM keeper", "UPDATE"),
    ],
)
def test_a_right_that_going_back_needs_is_named_before_anything_is_written(
    application: Application, mover: str, revoked: str, named: str, tmp_path: Path
) -> None:
    assert run(mover, tmp_path).code == 0
    application.execute(revoked.format(old="pipelines_retired_1.prompt_templates"))
    places = application.places()
    answer = call("rollback", "--json", DATABASE_URL=mover)
    assert answer.code == 3, answer.err
    assert any(named in blocker["message"] for blocker in answer.json["blockers"]), answer.json["blockers"]
    assert application.places() == places


def test_foreign_keys_that_have_to_come_back_need_the_owner_of_their_table(
    application: Application, mover: str, tmp_path: Path
) -> None:
    application.execute(
        "ALTER TABLE stages OWNER TO mover; GRANT REFERENCES ON prompt_templates TO mover; ALTER TABLE stages ADD FOREIGN KEY (stage_selection_template_id)"
        " REFERENCES prompt_templates"
    )
    assert run(mover, tmp_path).code == 0
    application.execute("ALTER TABLE stages OWNER TO postgres; GRANT SELECT, UPDATE ON stages TO mover")
    answer = call("rollback", "--json", DATABASE_URL=mover)
    assert answer.code == 3, answer.err
    assert any("does not own public.stages" in blocker["message"] for blocker in answer.json["blockers"])
