"""A role with just the rights of sql/roles.sql makes the move; without one of them the plan says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.application import Application
from tests.command import ROOT, call, run


def as_mover(application: Application) -> str:
    application.execute("DO $$ BEGIN CREATE ROLE mover LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    application.execute((ROOT / "sql" / "roles.sql").read_text(encoding="utf-8"))
    return application.url.replace("postgres:@", "mover@", 1)


@pytest.fixture
def mover(application: Application):
    business = application.business(1)
    application.template("x")
    application.stage(1, business, "x")
    yield as_mover(application)
    application.execute("REASSIGN OWNED BY mover TO postgres; DROP OWNED BY mover")


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
