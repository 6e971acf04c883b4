"""The second move, of a table without tenants and references, by the same machine: judged by plain SQL of its own."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2
import pytest

from pipelines.table_move.database.queries import query
from tests.application import Application
from tests.command import ROOT, Answer, call, run, start
from tests.oracle import violations
from tests.postgres_tools import schema_dump

SECOND = "pipelines.default_templates"
TABLES = ROOT / "sql" / "demo" / "default_templates.sql"
BUSINESS = "Northwind Support"

# Text, variables, metadata as they are written; rows that have broken other migrations.
ROWS: tuple[tuple[str, Any, str | None], ...] = (
    ("Hello {name}", ["name"], '{"lang": "en"}'),
    ("", [], "{}"),
    ("nothing else", None, None),
    ('He said "hi", \\ and \t\r\n – 谢谢 🙏 \\N \\. {a,b}', ['a "quoted" one', "with, comma", "{braces}", "back\\slash"], "[]"),
    ("elements that are missing, and the word", [None, "NULL", "null", "", " ", None], "null"),
    ("unicode", ["größe", "谢谢", "🙏", "line\nbreak"], '{"größe": "谢谢 🙏", "esc": "\\u00e9\\n\\"\\\\"}'),
    ("two dimensions", [["a", "b"], ["c", None]], '[[1, [2, {"a": [null, true]}]], {}]'),
    ("numbers", ["n"], '{"big": 123456789012345678901234567890.123456789, "huge": 1e400, "zero": -0, "scale": 1.00}'),
    ("keys", ["k"], '{"b": 1, "a": 2, "b": 3, "aa": {"y": 1, "x": 2, "y": 4}}'),
    ("long " * 20_000, [f"variable {number}" for number in range(500)], '"text"'),
)  # fmt: skip

# Rows of the old table (kept as `before.default_templates`) without their equal, and rows that come from nowhere.
WRONG = """
    SELECT count(*) FROM before.default_templates b FULL JOIN public.template_defaults t USING (template_id)
    WHERE b.template_text IS NULL OR t.content IS NULL
       OR convert_to(t.content, 'UTF8') <> convert_to(b.template_text, 'UTF8')
       OR t.template_type IS DISTINCT FROM b.template_type
       OR t.variables::text <> coalesce(b.variables, ARRAY[]::text[])::text
       OR t.metadata::text IS DISTINCT FROM b.metadata::text"""

DEFECTS = (
    "DELETE FROM template_defaults WHERE content = 'unicode'",
    "INSERT INTO template_defaults VALUES (gen_random_uuid(), 't', 'c', '{}')",
    "UPDATE template_defaults SET template_id = gen_random_uuid() WHERE content = 'unicode'",
    "UPDATE template_defaults SET content = content || ' ' WHERE content = 'unicode'",
    "UPDATE template_defaults SET variables = array_remove(variables, NULL) WHERE content LIKE 'elements%'",
    """UPDATE template_defaults SET metadata = metadata || '{"scale": 1.0}' WHERE content = 'numbers'""",
    "UPDATE template_defaults SET metadata = 'null' WHERE content = 'nothing else'",
)


WAITING = "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"


def fallback(application: Application, number: int, text: str, variables: Any, metadata: str | None) -> None:
    application.execute(
        "INSERT INTO default_templates (template_id, template_text, variables, template_type, metadata)"
        " VALUES (%s, %s, %s::text[], 'default_data_extraction', %s::jsonb)",
        (str(UUID(int=number)), text, variables, metadata),
    )


def keep(application: Application) -> None:
    """The old table as it is now, for `WRONG`."""
    application.execute(
        "DROP SCHEMA IF EXISTS before CASCADE; CREATE SCHEMA before;"
        "CREATE TABLE before.default_templates AS SELECT * FROM default_templates"
    )


def with_fallbacks(application: Application) -> Application:
    application.execute(TABLES.read_text(encoding="utf-8"))
    for number, row in enumerate(ROWS, 1):
        fallback(application, number, *row)
    keep(application)
    return application


@pytest.fixture
def fallbacks(application: Application) -> Application:
    """The application with the second old table filled, its new one empty, and nothing that refers to them."""
    return with_fallbacks(application)


def move(application: Application, reports: Path, *arguments: str) -> Answer:
    return run(application.url, reports, *arguments, module=SECOND)


def retired(application: Application, key: str = "default_templates") -> str:
    return application.value("SELECT retired_schema FROM pipelines.move WHERE move = %s", (key,))


def test_every_row_arrives_as_it_was_and_a_second_run_writes_only_its_own_row(
    fallbacks: Application, tmp_path: Path
) -> None:
    # A session that takes these from its database would read NULL as a text.
    fallbacks.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET array_nulls = off', current_database()); END $$"
    )
    old = fallbacks.rows("SELECT * FROM default_templates ORDER BY 1")
    places = fallbacks.places()
    plan = call("plan", "--json", module=SECOND, DATABASE_URL=fallbacks.url)
    assert plan.code == 0, plan.err
    assert (plan.json["source_rows"], plan.json["inserted"], plan.json["blockers"]) == (len(ROWS), len(ROWS), [])
    assert "Nothing is in the way" in call("plan", module=SECOND, DATABASE_URL=fallbacks.url).out
    assert fallbacks.places() == places

    first = move(fallbacks, tmp_path)

    assert first.code == 0, first.err
    assert fallbacks.value(WRONG) == 0
    arrived = fallbacks.rows("SELECT content, variables, metadata::text FROM template_defaults ORDER BY template_id")
    assert [(text, variables) for text, variables, _ in arrived] == [(row[0], row[1] or []) for row in ROWS]
    assert arrived[2][2] is None
    assert (arrived[7][2], arrived[8][2]) == (
        f'{{"big": 123456789012345678901234567890.123456789, "huge": 1{"0" * 400}, "zero": 0, "scale": 1.00}}',
        '{"a": 2, "b": 3, "aa": {"x": 2, "y": 4}}',
    )
    document = first.json
    assert (document["state"], document["move"], document["inserted"]) == ("done", "default_templates", len(ROWS))
    assert set(document["references"].values()) == {0}
    assert document["gate"]["failed_critical"] == 0
    assert not fallbacks.exists("public.default_templates")
    assert fallbacks.rows(f"SELECT * FROM {retired(fallbacks)}.default_templates ORDER BY 1") == old
    page = Path(document["report"]).read_text(encoding="utf-8")
    assert "<h2>Owners</h2>" not in page
    assert "The balance holds." in page

    places = fallbacks.places()
    second = move(fallbacks, tmp_path)
    after = fallbacks.places()

    assert second.code == 0, second.err
    assert (second.json["state"], second.json["rows_written"]) == ("done", 0)
    assert set(places.pop("pipelines.run")) < set(after.pop("pipelines.run"))
    assert after == places
    for defect in DEFECTS:
        fallbacks.execute("BEGIN")
        assert fallbacks.execute(defect) == 1, defect
        assert fallbacks.value(WRONG) > 0, defect
        fallbacks.execute("ROLLBACK")


def test_an_empty_table_is_retired_too(application: Application, tmp_path: Path) -> None:
    application.execute(TABLES.read_text(encoding="utf-8"))
    answer = move(application, tmp_path)
    assert answer.code == 0, answer.err
    assert (answer.json["state"], answer.json["source_rows"], answer.json["inserted"]) == ("done", 0, 0)
    assert application.exists(f"{retired(application)}.default_templates")


def test_what_another_connection_writes_between_copy_and_switch_ends_as_it_was_at_the_switch(
    fallbacks: Application, tmp_path: Path
) -> None:
    assert move(fallbacks, tmp_path, "--until", "copy").json["state"] == "stopped"
    with psycopg2.connect(fallbacks.url) as other, other.cursor() as cursor:
        cursor.execute("UPDATE default_templates SET variables = NULL WHERE template_text = 'unicode'")
        cursor.execute("UPDATE default_templates SET variables = ARRAY[NULL, 'NULL'] WHERE template_text = 'keys'")
        cursor.execute("""UPDATE default_templates SET metadata = '{"scale": 1.000}' WHERE template_text = 'numbers'""")
        cursor.execute("UPDATE default_templates SET metadata = NULL WHERE template_text = 'two dimensions'")
        cursor.execute("DELETE FROM default_templates WHERE template_text = 'nothing else'")
        cursor.execute("""INSERT INTO default_templates VALUES (gen_random_uuid(), 'new', '{",",x}', 't', '[1e3]')""")
    other.close()
    keep(fallbacks)

    answer = move(fallbacks, tmp_path)

    assert answer.code == 0, answer.err
    assert answer.json["rows_written"] == 6
    assert fallbacks.value(WRONG) == 0
    assert fallbacks.value("SELECT count(*) FROM pipelines.id_map") == len(ROWS)


def test_both_moves_share_a_database_and_its_journal(demonstration: Application, tmp_path: Path) -> None:
    with_fallbacks(demonstration)
    demonstration.execute("DROP SCHEMA before CASCADE")
    demonstration.snapshot()
    owner = demonstration.value("SELECT business_id FROM businesses WHERE business_name = %s", (BUSINESS,))
    assert run(demonstration.url, tmp_path, "--default-business", BUSINESS).code == 0
    assert violations(demonstration, owner) == {}
    mine = {"public.default_templates", "public.template_defaults"}
    places = demonstration.places()
    map_of_first = "SELECT * FROM pipelines.id_map WHERE move = 'templates' ORDER BY source_id, owner_id"
    mapped = demonstration.rows(map_of_first)

    answer = move(demonstration, tmp_path)

    assert answer.code == 0, answer.err
    demonstration.execute(
        "CREATE TABLE before.default_templates AS SELECT * FROM " + retired(demonstration) + ".default_templates"
    )
    assert demonstration.value("SELECT count(*) FROM before.default_templates") == len(ROWS)
    assert demonstration.value(WRONG) == 0
    after = demonstration.places()
    for name in places.keys() - mine:
        assert name.startswith("pipelines.") or after[name] == places[name], f"the second move touched {name}"
    assert demonstration.rows(map_of_first) == mapped
    assert demonstration.rows("SELECT move, milestone FROM pipelines.move ORDER BY 1") == [
        ("default_templates", "confirmed"),
        ("templates", "confirmed"),
    ]
    assert demonstration.value("SELECT count(DISTINCT retired_schema) FROM pipelines.move") == 2
    for module, rows in (("pipelines.templates", 600), (SECOND, len(ROWS))):
        status = call("status", "--json", module=module, DATABASE_URL=demonstration.url)
        assert (status.code, status.json["state"], status.json["source_rows"]) == (0, "done", rows)
        again = run(demonstration.url, tmp_path, module=module)
        assert (again.code, again.json["rows_written"]) == (0, 0)


def test_verify_report_and_status_know_the_second_move(fallbacks: Application, tmp_path: Path) -> None:
    options = {"module": SECOND, "DATABASE_URL": fallbacks.url}
    reports = ("--json", "--report-dir", str(tmp_path))
    assert call("status", "--json", **options).json["state"] == "not_started"
    before = call("verify", *reports, **options)
    assert before.code == 0, before.err
    assert before.json["gate"] == {"passed": 1, "failed_critical": 0, "failed_warning": 2}
    assert not fallbacks.exists("pipelines.run")
    assert move(fallbacks, tmp_path).code == 0
    places = fallbacks.places()
    after = call("verify", *reports, **options)
    assert after.code == 0, after.err
    assert after.json["gate"]["failed_critical"] == 0
    again = call("report", *reports, **options)
    assert again.code == 0, again.err
    assert Path(again.json["report"]).is_file()
    assert fallbacks.places() == places
    fallbacks.execute("DELETE FROM pipelines.id_map WHERE source_id = (SELECT min(source_id) FROM pipelines.id_map)")
    broken = call("verify", *reports, **options)
    assert broken.code == 8
    assert "balance_holds" in broken.err


def test_a_run_that_is_killed_in_the_copy_and_in_the_switch_is_completed_by_the_next(
    fallbacks: Application, tmp_path: Path
) -> None:
    fallbacks.execute(
        "INSERT INTO default_templates SELECT gen_random_uuid(), repeat('many ', 100) || n, ARRAY['n', n::text], 't',"
        " jsonb_build_object('n', n) FROM generate_series(1, 500) n"
    )
    keep(fallbacks)
    last = fallbacks.value(
        "SELECT template_id::text FROM default_templates WHERE ctid = (SELECT max(ctid) FROM default_templates)"
    )
    for phase, hold in (
        ("copy", f"INSERT INTO template_defaults VALUES ('{last}', 't', 'in the way of the last batch', '{{}}')"),
        ("cutover", "LOCK TABLE default_templates IN ROW EXCLUSIVE MODE"),
    ):
        other = psycopg2.connect(fallbacks.url)
        other.cursor().execute(hold)
        process = start(
            "run", "--json", "--batch-bytes", "8kB", "--workers", "1", "--report-dir", str(tmp_path), module=SECOND,
            DATABASE_URL=fallbacks.url,
        )  # fmt: skip
        wait_until(fallbacks, "SELECT to_regclass('pipelines.run') IS NOT NULL")
        wait_until(
            fallbacks,
            f"SELECT EXISTS (SELECT FROM pipelines.run WHERE state = 'running' AND phase = %s) AND {WAITING}",
            phase,
        )
        process.send_signal(signal.SIGKILL)
        process.communicate()
        other.rollback()
        other.close()
        assert fallbacks.exists("public.default_templates")
        assert fallbacks.value("SELECT count(*) FROM pipelines.batch") > 0

    answer = move(fallbacks, tmp_path)

    assert answer.code == 0, answer.err
    assert fallbacks.value(WRONG) == 0
    assert fallbacks.rows("SELECT state FROM pipelines.run ORDER BY run_id") == [
        ("interrupted",),
        ("interrupted",),
        ("done",),
    ]


def wait_until(application: Application, question: str, *values: object) -> None:
    deadline = time.monotonic() + 60
    while not application.value(question, values):
        assert time.monotonic() < deadline, question
        time.sleep(0.02)


def test_a_row_that_cannot_be_carried_closes_the_gate_until_it_is_put_right(
    fallbacks: Application, tmp_path: Path
) -> None:
    fallbacks.execute("UPDATE default_templates SET template_type = NULL WHERE template_text = 'unicode'")
    answer = move(fallbacks, tmp_path)
    assert answer.code == 4, answer.err
    assert answer.json["rejected"] == 1
    assert "type_is_there" in answer.err
    assert "no_rejects" in answer.err
    fallbacks.execute("UPDATE default_templates SET template_type = 't' WHERE template_text = 'unicode'")
    keep(fallbacks)
    assert move(fallbacks, tmp_path).code == 0
    assert fallbacks.value(WRONG) == 0


def test_rows_that_stand_in_the_target_are_present_or_a_conflict(fallbacks: Application, tmp_path: Path) -> None:
    fallbacks.execute(
        "INSERT INTO template_defaults SELECT template_id, template_type, template_text, coalesce(variables, '{}'), metadata"
        " FROM default_templates WHERE template_text IN ('keys', 'numbers', 'nothing else')"
    )
    fallbacks.execute(
        """UPDATE template_defaults SET metadata = metadata || '{"scale": 1.0}' WHERE content = 'numbers'"""
    )
    plan = call("plan", "--json", module=SECOND, DATABASE_URL=fallbacks.url)
    assert (plan.json["already_present"], plan.json["conflicts"]) == (2, 1)
    answer = move(fallbacks, tmp_path)
    assert answer.code == 4, answer.err
    assert (answer.json["already_present"], answer.json["conflicts"]) == (2, 1)
    assert "no_conflicts" in answer.err, "1.0 is not 1.00, whatever jsonb says"
    kept = move(fallbacks, tmp_path, "--on-conflict", "keep-target")
    assert kept.code == 0, kept.err
    assert fallbacks.value(WRONG) == 1


@pytest.mark.parametrize("option", ["--default-business", "--owners"])
def test_owners_have_no_meaning_where_rows_belong_to_nobody(fallbacks: Application, option: str) -> None:
    answer = call("run", option, "somebody", module=SECOND, DATABASE_URL=fallbacks.url)
    assert answer.code == 2
    assert option in answer.err
    assert not fallbacks.exists("pipelines.run")


def test_the_second_move_has_the_same_verbs_but_no_demonstration() -> None:
    answer = call("--help", module=SECOND)
    assert answer.code == 0
    assert "Move default_templates to template_defaults" in answer.out
    verbs = set(re.findall(r"^  (\w+) ", answer.out.partition("Commands:")[2], re.MULTILINE))
    assert {"plan", "run", "status", "verify", "report"} <= verbs
    assert "demo" not in verbs
    for verb in ("plan", "run", "status", "verify"):
        refused = call(verb, "--json", module=SECOND)
        assert refused.code == 2
        assert "no demonstration" in refused.err
        assert "DATABASE_URL" in refused.err


def test_two_moves_that_begin_at_once_make_one_journal(fallbacks: Application, tmp_path: Path) -> None:
    other = psycopg2.connect(fallbacks.url)
    cursor = other.cursor()
    cursor.execute(query("journal.create"))
    process = start("run", "--until", "copy", "--report-dir", str(tmp_path), module=SECOND, DATABASE_URL=fallbacks.url)
    wait_until(fallbacks, f"SELECT {WAITING}")
    other.commit()
    other.close()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err


def test_the_second_move_is_taken_back_with_its_edits_also_after_a_purge(
    fallbacks: Application, tmp_path: Path
) -> None:
    old = fallbacks.rows("SELECT * FROM default_templates ORDER BY 1")
    dump = schema_dump(fallbacks)
    options = {"module": SECOND, "DATABASE_URL": fallbacks.url}
    reports = ("--json", "--report-dir", str(tmp_path))
    assert move(fallbacks, tmp_path).code == 0
    back = call("rollback", *reports, **options)
    assert back.code == 0, back.err
    assert fallbacks.rows("SELECT * FROM default_templates ORDER BY 1") == old
    assert fallbacks.value("SELECT count(*) FROM template_defaults") == 0
    assert schema_dump(fallbacks) == dump

    assert move(fallbacks, tmp_path).code == 0
    fallbacks.execute("""UPDATE template_defaults SET metadata = '{"scale": 1.000}', variables = '{NULL,"NULL",x}'
                         WHERE content = 'numbers'""")
    fallbacks.execute("DELETE FROM template_defaults WHERE content = 'unicode'")
    purged = call("purge", "--yes", "--archive", str(tmp_path / "archive"), *reports, **options)
    assert purged.code == 0, purged.err
    back = call("rollback", "--archive", purged.json["purge"]["archive"], *reports, **options)
    assert back.code == 0, back.err
    assert (back.json["rollback"]["merged_back"], back.json["rollback"]["deletions_back"]) == (1, 1)
    expected = [row for row in old if row[1] != "unicode"]
    found = fallbacks.rows("SELECT * FROM default_templates ORDER BY 1")
    assert [row for row in found if row[1] != "numbers"] == [row for row in expected if row[1] != "numbers"]
    assert fallbacks.rows(
        "SELECT variables, metadata::text, template_type FROM default_templates WHERE template_text = 'numbers'"
    ) == [([None, "NULL", "x"], '{"scale": 1.000}', "default_data_extraction")]
    assert schema_dump(fallbacks) == dump
