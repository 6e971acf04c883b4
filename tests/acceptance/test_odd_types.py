"""Columns that are texts of another kind: enumerations, domains, citext, collations that are not deterministic. The move,
the checks and both ways back take them, and compare byte for byte."""

from __future__ import annotations

from pathlib import Path

import psycopg2
import pytest

from tests.application import Application
from tests.command import Answer, run_here
from tests.postgres_tools import schema_dump

CI = "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
OLD, NEW = ("template_name", "template_type", "template_text"), ("template_name", "template_type", "content")


def changed(table: str, kind: str, *columns: str) -> str:
    plain, _, _ = kind.partition(" ")
    each = (f"ALTER {name} DROP DEFAULT, ALTER {name} TYPE {kind} USING {name}::text::{plain}" for name in columns)
    return f"ALTER TABLE {table} {', '.join(each)}"


ENUM = "CREATE TYPE kind AS ENUM ('stage_selection', 'data_extraction')"
CASES = {
    "an enumeration in the old table": (ENUM, changed("prompt_templates", "kind", "template_type")),
    "an enumeration in both": (
        ENUM,
        "DROP INDEX idx_templates_template_type",
        changed("prompt_templates", "kind", "template_type"),
        changed("templates", "kind", "template_type"),
    ),
    "domains": (
        "CREATE DOMAIN words AS text CHECK (length(value) < 1000)",
        changed("prompt_templates", "words", "template_id", "description", *OLD),
        changed("templates", "words", *NEW),
        changed("stages", "words", "stage_selection_template_id"),
        changed("businesses", "words", "business_name"),
    ),
    "citext": (
        "CREATE EXTENSION citext",
        changed("prompt_templates", "citext", "template_id", "description", *OLD),
        changed("templates", "citext", *NEW),
        changed("stages", "citext", "stage_id", "stage_name"),
        changed("businesses", "citext", "business_name"),
    ),
    "collations that are not deterministic": (
        CI,
        changed("prompt_templates", "text COLLATE ci", "template_id", "description", *OLD),
        "ALTER TABLE prompt_templates ALTER variables TYPE text[] COLLATE ci",
        changed("templates", "text COLLATE ci", *NEW),
        changed("stages", "text COLLATE ci", "stage_id", "stage_selection_template_id"),
        changed("businesses", "text COLLATE ci", "business_name"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_texts_of_every_kind_go_and_come_back_byte_for_byte(
    application: Application, case: str, tmp_path: Path
) -> None:
    def verb(name: str, *more: str) -> Answer:
        grace = ("--grace", "0s") if name == "run" else ()
        return run_here(name, "--json", *grace, *more, DATABASE_URL=application.url, PIPELINES_REPORT_DIR=str(tmp_path))

    business = application.business(1)
    application.template("Aé", "Text {name}", variables=["name", "Unused"], description="Said of it")
    application.template("b", template_type=None, template_name=" ")
    application.stage(1, business, "Aé")
    application.stage(2, business, "Aé", "b")
    try:
        for statement in CASES[case]:
            application.execute(statement)
    except psycopg2.errors.FeatureNotSupported:
        pytest.skip("this server is built without it")
    before = schema_dump(application)

    for arguments in (("plan",), ("run",), ("status",), ("verify",)):
        answer = verb(*arguments)
        assert answer.code == 0, (arguments, answer.err)
    assert application.rows(
        "SELECT DISTINCT content::text FROM templates WHERE template_type::text = 'data_extraction'"
    ) == [("Text {name}",)]
    application.execute("UPDATE templates SET content = 'TEXT {name}' WHERE content::text = 'Text {name}'")
    application.execute("UPDATE templates SET template_type = 'data_extraction'")
    for arguments in (("verify",), ("rollback",)):
        answer = verb(*arguments)
        assert answer.code == 0, (arguments, answer.err)
    texts = "SELECT template_id::text, template_text::text, template_type::text FROM prompt_templates ORDER BY 1"
    assert application.rows(texts) == [
        ("Aé", "TEXT {name}", "data_extraction"),
        ("b", "Hello {name}", "data_extraction"),
    ]
    assert schema_dump(application) == before
    archive = tmp_path / "archive"
    for arguments in (("run",), ("purge", "--yes", "--archive", str(archive))):
        answer = verb(*arguments)
        assert answer.code == 0, (arguments, answer.err)
    answer = verb("rollback", "--archive", str(next(archive.iterdir())))
    assert answer.code == 0, answer.err
    assert schema_dump(application) == before
