"""Nothing that the application keeps in its rows, and no password, leaves the database: not by what the server says when
it refuses something, on the terminal, in logs, reports, or in the journal."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.application import Application
from tests.command import ROOT, Answer, call

SECRET = "CANARY"  # in every planted text, and nowhere else

RAISE = """
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'noticed %', NEW;
    RAISE WARNING 'warned %', NEW;
    RAISE EXCEPTION 'refused: %', NEW USING ERRCODE = '{state}', DETAIL = NEW::text, HINT = NEW::text,
        CONSTRAINT = NEW::text, TABLE = NEW::text, COLUMN = NEW::text, SCHEMA = NEW::text, DATATYPE = NEW::text;
END $$;
CREATE TRIGGER guard BEFORE {event} FOR EACH ROW EXECUTE FUNCTION guard()
"""
CAST = """
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM {value}::int; RETURN NEW; END $$;
CREATE TRIGGER guard BEFORE {event} FOR EACH ROW EXECUTE FUNCTION guard()
"""
DYNAMIC = """
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN EXECUTE format('SELECT 1/0, %L', NEW.stage_description); RETURN NEW; END $$;
CREATE TRIGGER guard BEFORE UPDATE ON stages FOR EACH ROW EXECUTE FUNCTION guard()
"""
OLD_IDS_ONLY = "ALTER TABLE stages ADD CONSTRAINT old_ids_only CHECK (stage_selection_template_id !~ '^[0-9a-f-]{36}$')"


class Case(NamedTuple):
    """An installation that refuses something. said: what people may read of it."""

    name: str
    installation: str
    said: str


RUN = (
    Case("a check of the referring table", OLD_IDS_ONLY, "23514 (check violation), table public.stages"),
    Case("a trigger that raises", RAISE.format(state="P0001", event="UPDATE ON stages"), "raised by"),
    Case("a trigger with a code of its own", RAISE.format(state="BUS01", event="UPDATE ON stages"), "BUS01"),
    Case("a trigger that claims a deadlock", RAISE.format(state="40001", event="UPDATE ON stages"), "40001"),
    Case("a trigger that claims a right", RAISE.format(state="42501", event="UPDATE ON stages"), "42501"),
    Case("a trigger that claims a timeout", RAISE.format(state="57014", event="UPDATE ON stages"), "57014"),
    Case("a cast that fails", CAST.format(value="NEW.stage_name", event="UPDATE ON stages"), "22P02"),
    Case("SQL that a trigger makes", DYNAMIC, "22012"),
    Case("a trigger on the new table", RAISE.format(state="P0001", event="INSERT ON templates"), "P0001"),
    Case("its code is unknown", RAISE.format(state="XX001", event="INSERT ON templates"), "XX001"),
    Case("a cast on the new table", CAST.format(value="NEW.content", event="INSERT ON templates"), "22P02"),
    Case("a unique text", "CREATE UNIQUE INDEX one_text ON templates (content)", "constraint one_text"),
    Case(
        "a domain in a COPY",
        "CREATE DOMAIN plain AS text CONSTRAINT is_plain CHECK (value !~ 'CANARY text');"
        " ALTER TABLE templates ALTER COLUMN content TYPE plain",
        "is_plain",
    ),
)


@pytest.fixture
def planted(application: Application) -> Application:
    """Two businesses with a template and a stage each, and a secret in everything that is no id, name or type."""
    application.execute(
        "ALTER TABLE templates ADD COLUMN note text DEFAULT 'CANARY note';"
        "ALTER TABLE stages ADD COLUMN note text DEFAULT 'CANARY note'"
    )
    for number in (1, 2):
        business = application.business(number)
        application.execute(
            "UPDATE businesses SET api_key = 'CANARY key ' || business_id, business_description = 'CANARY'"
        )
        application.template(f"old-{number}", "CANARY text", description="CANARY description", variables=["CANARY var"])
        application.stage(number, business, f"old-{number}")
    application.execute(
        "UPDATE stages SET stage_name = 'CANARY name', stage_description = 'CANARY description', stage_type = 'CANARY type';"
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content, system_prompt)"
        " SELECT business_id, business_id, 'there before', 't', 'CANARY there ' || business_id, 'CANARY prompt'"
        " FROM businesses"
    )
    return application


def leaks(application: Application, answer: Answer, *folders: Path) -> list[str]:
    """Where the secret stands: what was printed, files, the journal, what other sessions can see of ours."""
    found = [name for name, text in (("stdout", answer.out), ("stderr", answer.err)) if SECRET in text]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    found += [file.name for file in files if SECRET.encode() in file.read_bytes()]
    tables = application.rows(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'r' AND n.nspname IN ('pipelines', 'pipelines_migrations')"
    )
    found += [
        table
        for (table,) in tables
        if application.value(f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%%CANARY%%'", ())
    ]
    if application.value("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%CANARY%'"):
        found.append("application_name")
    return found


@pytest.mark.parametrize("case", RUN, ids=lambda case: case.name)
def test_what_the_server_says_of_a_row_stays_there(planted: Application, tmp_path: Path, case: Case) -> None:
    planted.execute(case.installation)
    for options in (("-v",), ("--log-format", "json", "--json")):
        answer = call("run", "--lock-wait", "2s", "--report-dir", str(tmp_path), *options, DATABASE_URL=planted.url)
        assert answer.code not in (0, 2), answer
        assert leaks(planted, answer, tmp_path) == []
    written = "".join(file.read_text(encoding="utf-8") for file in tmp_path.rglob("*") if file.is_file())
    assert case.said in answer.out + answer.err + written, "what people need to know is there"
    for verb in ("status", "report", "verify"):
        again = call(
            verb, "--json", *(() if verb == "status" else ("--report-dir", str(tmp_path))), DATABASE_URL=planted.url
        )
        assert leaks(planted, again, tmp_path) == [], verb


BACK = (
    Case("references", RAISE.format(state="P0001", event="UPDATE ON stages"), ""),
    Case("deletions", RAISE.format(state="P0001", event="DELETE ON templates").replace("NEW", "OLD"), ""),
    Case("edits", CAST.format(value="NEW.template_text", event="UPDATE ON {old}"), ""),
)


@pytest.mark.parametrize("case", BACK, ids=lambda case: case.name)
def test_nor_on_the_way_back(planted: Application, tmp_path: Path, case: Case) -> None:
    done = call("run", "--grace", "0s", "--report-dir", str(tmp_path), DATABASE_URL=planted.url)
    assert done.code == 0, done.err
    assert leaks(planted, done, tmp_path) == []
    old = planted.value("SELECT retired_schema FROM pipelines.move") + ".prompt_templates"
    planted.execute("UPDATE templates SET content = content || ' CANARY edited', system_prompt = 'CANARY prompt'")
    planted.execute(case.installation.replace("{old}", old))
    for verb, *options in (("rollback", "--dry-run"), ("rollback",), ("rollback", "--accept-loss"), ("purge", "--yes")):
        folders = ("--report-dir", str(tmp_path)) + (("--archive", str(tmp_path / "..")) if verb == "purge" else ())
        answer = call(verb, *options, "-v", *folders, DATABASE_URL=planted.url)
        assert leaks(planted, answer, tmp_path) == [], (verb, options)


def test_nor_by_a_suite_that_cannot_be_asked(planted: Application, tmp_path: Path) -> None:
    for part in ("pipelines", "sql", "expectations"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    suite = tmp_path / "expectations" / "templates" / "target.json"
    good = suite.read_text(encoding="utf-8")
    asked = (
        '{"type": "unexpected_rows_expectation", "severity": "critical", "meta": {"name": "raises", "reason": "r"},'
        ' "kwargs": {"unexpected_rows_query": "SELECT content::int FROM {batch}"}},'
        '{"type": "expect_column_most_common_value_to_be_in_set", "severity": "info",'
        ' "meta": {"name": "frequent", "reason": "r"}, "kwargs": {"column": "content", "value_set": ["a"]}},'
        '{"type": "expect_column_distinct_values_to_be_in_set", "severity": "info",'
        ' "meta": {"name": "distinct", "reason": "r"}, "kwargs": {"column": "content", "value_set": ["a"]}},'
    )
    suite.write_text(good.replace('"expectations": [', '"expectations": [' + asked, 1), encoding="utf-8")
    reports = tmp_path / "reports"
    answer = call("run", "-v", cwd=tmp_path, DATABASE_URL=planted.url)
    assert answer.code == 4, answer.err
    assert "SQLSTATE 22P02 (invalid text representation)" in answer.err
    assert leaks(planted, answer, reports) == []
    assert "frequent" in next(reports.glob("*-templates-run-1/report.html")).read_text(encoding="utf-8")


def test_what_an_earlier_version_noted_is_not_shown(planted: Application, tmp_path: Path) -> None:
    call("run", "--until", "verify", "--report-dir", str(tmp_path / "first"), DATABASE_URL=planted.url)
    planted.execute(
        "UPDATE pipelines.run SET code_version = '0.1.0+abc', error = 'Failing row contains (CANARY)',"
        ' summary = summary || \'{"error": "CANARY"}\';'
        "UPDATE pipelines.check_result SET error = 'CANARY', observed = 'CANARY'"
    )
    for verb in (("status",), ("report",), ("report", "--list")):
        for options in ((), ("--json",)):
            answer = call(
                *verb,
                *options,
                *(("--report-dir", str(tmp_path / "r")) if verb != ("status",) else ()),
                DATABASE_URL=planted.url,
            )
            assert answer.code == 0, answer.err
            assert SECRET not in answer.out + answer.err
            assert "An earlier version noted the reason" in answer.out or verb == ("report",)
    assert not [file for file in (tmp_path / "r").rglob("*") if file.is_file() and SECRET in file.read_text("utf-8")]


MIGRATIONS = (
    ("01", RAISE.format(state="P0001", event="INSERT ON templates")),
    ("01", CAST.format(value="NEW.stage_name", event="UPDATE ON stages")),
    ("01", OLD_IDS_ONLY),
    ("02", "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    ("03", "ALTER TABLE templates ADD COLUMN deleted_at text DEFAULT 'CANARY'"),
    ("04", "CREATE SCHEMA audit"),
    ("05", RAISE.format(state="P0001", event="UPDATE ON stages")),
)


@pytest.mark.parametrize(("number", "installation"), MIGRATIONS)
def test_nor_by_a_numbered_migration(planted: Application, number: str, installation: str) -> None:
    planted.execute(installation)
    up = ("up", "--to", number, "--default-business", "Business 1")
    for options in (("-v",), ("--log-format", "json", "--json")):
        answer = call(*up, *options, module="pipelines.migrations", DATABASE_URL=planted.url)
        assert leaks(planted, answer) == []
        assert "Traceback" not in answer.err


def test_a_trace_holds_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    from pipelines.table_move.trace import trace

    def fail() -> None:
        text = "CANARY"
        try:
            int(text)
        except ValueError as problem:
            raise RuntimeError(f"about {text}") from problem

    try:
        fail()
    except RuntimeError as problem:
        problem.add_note("CANARY")
        lines = "\n".join(trace(problem))
    assert "ValueError\n\nwhich led to:\n" in lines
    assert lines.endswith("RuntimeError")
    assert re.search(r'test_leaks\.py", line \d+, in fail\n    int\(text\)', lines)
    assert SECRET not in lines.replace('text = "CANARY"', "")


@pytest.mark.parametrize("level", ["NOTICE", "WARNING", "INFO"])
def test_what_the_server_says_at_the_login_is_not_shown(planted: Application, level: str) -> None:
    """libpq writes notices to the standard error itself until psycopg2 has the connection."""
    if planted.value("SELECT current_setting('server_version_num')::int") < 170000:
        pytest.skip("no login event triggers")
    planted.execute(
        "CREATE FUNCTION greet() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE {level} 'seen %', (SELECT max(old::text) FROM public.prompt_templates AS old); END $$;"
        "CREATE EVENT TRIGGER greet ON login EXECUTE FUNCTION greet()"
    )
    answer = call("status", "--json", "--log-format", "json", DATABASE_URL=planted.url)
    assert answer.code == 0, answer.err
    assert SECRET not in answer.out + answer.err
    assert all(line.startswith("{") for line in answer.err.splitlines()), answer.err
