"""The whole move through the real command, judged by plain SQL that shares no code with it."""

from __future__ import annotations

import random
import signal
import threading
import time
from itertools import product
from pathlib import Path

import psycopg2
import pytest

from tests.application import Application
from tests.command import run, start
from tests.oracle import violations

DEFAULT = "Northwind Support"
KEYS = {
    "move", "database", "run_id", "state", "phase", "source_rows", "inserted", "already_present", "adopted",
    "conflicts", "rejected", "fan_out_copies", "rows_written", "references", "gate", "write_pause_ms", "report",
    "blockers",
}  # fmt: skip


@pytest.fixture
def default_business(demonstration: Application) -> str:
    return demonstration.value("SELECT business_id FROM businesses WHERE business_name = %s", (DEFAULT,))


def test_a_run_moves_everything_and_a_second_one_writes_only_its_own_row(
    demonstration: Application, default_business: str, tmp_path: Path
) -> None:
    demonstration.snapshot()
    references = demonstration.value(
        "SELECT count(*) FROM stages WHERE stage_selection_template_id IS NOT NULL OR"
        " data_extraction_template_id IS NOT NULL OR response_generation_template_id IS NOT NULL"
    )
    templates = demonstration.value("SELECT count(*) FROM templates")

    first = run(demonstration.url, tmp_path, "--default-business", DEFAULT)

    assert first.code == 0, first.err
    assert violations(demonstration, default_business) == {}
    document = first.json
    assert document.keys() >= KEYS
    assert document["state"] == "done"
    ended = ("inserted", "already_present", "adopted", "conflicts", "rejected")
    assert document["source_rows"] + document["fan_out_copies"] == sum(document[end] for end in ended)
    assert document["source_rows"] == demonstration.value("SELECT count(*) FROM before.prompt_templates")
    assert document["gate"]["failed_critical"] == 0
    assert document["gate"]["failed_warning"] > 0, "the demonstration has warnings worth reading"
    assert document["references"]["to_rewire"] == 0
    assert Path(document["report"]).is_file()
    # The three verification queries of the guide.
    assert demonstration.value("SELECT count(*) FROM templates") == templates + document["inserted"]
    assert not demonstration.exists("public.prompt_templates")
    assert references == demonstration.value(
        "SELECT count(*) FROM stages WHERE stage_selection_template_id IS NOT NULL OR"
        " data_extraction_template_id IS NOT NULL OR response_generation_template_id IS NOT NULL"
    )

    places = demonstration.places()
    second = run(demonstration.url, tmp_path)
    after = demonstration.places()

    assert second.code == 0, second.err
    assert (second.json["state"], second.json["rows_written"]) == ("done", 0)
    assert "Nothing is left to do" in second.err
    assert len(after["pipelines.run"]) == len(places["pipelines.run"]) + 1
    assert after["pipelines.run"][: len(places["pipelines.run"])] == places["pipelines.run"]
    del after["pipelines.run"], places["pipelines.run"]
    assert after == places


@pytest.mark.timeout(900)
def test_a_run_killed_at_random_moments_ends_like_an_undisturbed_one(
    demonstration: Application, default_business: str, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    demonstration.snapshot()
    options = ("run", "--json", "--grace", "300ms", "--default-business", DEFAULT, "--batch-bytes", "16kB")
    for _ in range(4):
        process = start(*options, "--report-dir", str(tmp_path), DATABASE_URL=demonstration.url)
        time.sleep(moments.uniform(0.8, 9))
        process.send_signal(signal.SIGKILL)
        process.communicate()

    last = run(demonstration.url, tmp_path, "--default-business", DEFAULT)

    assert last.code == 0, last.err
    assert violations(demonstration, default_business) == {}
    states = [state for (state,) in demonstration.rows("SELECT state FROM pipelines.run ORDER BY run_id")]
    assert states[-1] == "done"
    assert set(states[:-1]) <= {"interrupted", "done"}


def test_rows_that_change_during_the_copy_end_as_they_were_when_the_switch_took_its_locks(
    demonstration: Application, default_business: str, tmp_path: Path
) -> None:
    lines: list[str] = []
    process = start(
        "run", "--grace", "0s", "--batch-bytes", "8kB", "--workers", "1", "--default-business", DEFAULT, "--report-dir",
        str(tmp_path), DATABASE_URL=demonstration.url,
    )  # fmt: skip
    reader = threading.Thread(target=lambda: lines.extend(process.stdout))
    reader.start()
    writer = psycopg2.connect(demonstration.url)
    writer.autocommit = True
    cursor = writer.cursor()
    number, refused = 0, None
    while process.poll() is None and refused is None:
        number += 1
        try:
            cursor.execute("INSERT INTO prompt_templates VALUES (%s, 'new', 'd')", (f"written-{number}",))
            cursor.execute(
                "UPDATE prompt_templates SET template_text = template_text || %s WHERE template_id ="
                " (SELECT min(template_id) FROM prompt_templates WHERE template_id > %s)",
                (f" edit {number}", random.choice("0123456789abcdef")),
            )
            cursor.execute("DELETE FROM prompt_templates WHERE template_id = %s", (f"written-{number - 3}",))
            cursor.execute(
                "UPDATE stages SET stage_selection_template_id = %s WHERE stage_id = (SELECT stage_id FROM stages"
                " WHERE business_id = %s ORDER BY stage_id LIMIT 1)",
                (f"written-{number}", default_business),
            )
        except psycopg2.Error as problem:
            refused = problem.pgcode
        time.sleep(0.005)
    process.wait(120)
    reader.join()

    assert process.returncode == 0, process.stderr.read() + "".join(lines)
    assert refused == "55000", "the first write after the switch meets the freeze"
    assert number > 50, "the writer was at work while the run was"
    # The retired table is frozen as it was when the switch took its locks: the oracle compares with that.
    demonstration.execute("CREATE SCHEMA before; CREATE TABLE before.templates AS SELECT * FROM templates WHERE false")
    retired = demonstration.value("SELECT retired_schema FROM pipelines.move")
    assert demonstration.value(
        f"SELECT count(*) FROM {retired}.prompt_templates p WHERE NOT EXISTS (SELECT FROM pipelines.id_map m"
        " JOIN templates t ON t.template_id = m.target_id WHERE m.source_id = p.template_id"
        " AND t.content = p.template_text AND t.business_id = m.owner_id)"
    ) == 0  # fmt: skip
    assert demonstration.value(
        "SELECT count(*) FROM pipelines.id_map m WHERE NOT EXISTS"
        f" (SELECT FROM {retired}.prompt_templates p WHERE p.template_id = m.source_id)"
    ) == 0  # fmt: skip
    assert demonstration.value(
        "SELECT count(*) FROM templates t WHERE t.template_name NOT LIKE 'New style %%' AND NOT EXISTS"
        " (SELECT FROM pipelines.id_map m WHERE m.target_id = t.template_id)", ()
    ) == 0  # fmt: skip
    assert demonstration.value(
        "SELECT count(*) FROM stages s, LATERAL (VALUES (stage_selection_template_id), (data_extraction_template_id),"
        " (response_generation_template_id)) r(value) WHERE value IS NOT NULL AND NOT EXISTS"
        " (SELECT FROM templates t WHERE t.template_id::text = r.value)"
    ) == 0  # fmt: skip


def test_the_frozen_table_says_where_to_write_and_keeps_its_rows(demonstration: Application, tmp_path: Path) -> None:
    rows = demonstration.rows("SELECT * FROM prompt_templates ORDER BY template_id")
    assert run(demonstration.url, tmp_path, "--default-business", DEFAULT).code == 0
    retired = demonstration.value("SELECT retired_schema FROM pipelines.move")
    assert demonstration.rows(f"SELECT * FROM {retired}.prompt_templates ORDER BY template_id") == rows
    for role, write in product(("origin", "local", "replica"), ("DELETE FROM", "TRUNCATE")):
        demonstration.execute(f"SET session_replication_role = {role}")
        with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState) as refusal:
            demonstration.execute(f"{write} {retired}.prompt_templates")
        assert "public.templates" in refusal.value.diag.message_hint


def test_a_reference_written_with_an_old_id_after_the_switch_is_followed_by_the_next_run(
    demonstration: Application, tmp_path: Path
) -> None:
    assert run(demonstration.url, tmp_path, "--default-business", DEFAULT).code == 0
    source_id, owner, target = demonstration.rows(
        "SELECT source_id, owner_id, target_id::text FROM pipelines.id_map WHERE source_id <> target_id::text LIMIT 1"
    )[0]
    late = demonstration.stage(1, owner, source_id)

    again = run(demonstration.url, tmp_path)

    assert again.code == 0, again.err
    assert again.json["rows_written"] == 1
    assert demonstration.value("SELECT stage_selection_template_id FROM stages WHERE stage_id = %s", (late,)) == target


def test_a_stop_before_the_switch_leaves_the_old_world_and_the_next_run_goes_on(
    demonstration: Application, default_business: str, tmp_path: Path
) -> None:
    demonstration.snapshot()
    for until in ("copy", "verify"):
        stopped = run(demonstration.url, tmp_path, "--default-business", DEFAULT, "--until", until)
        assert (stopped.code, stopped.json["state"], stopped.json["phase"]) == (0, "stopped", until)
        assert demonstration.exists("public.prompt_templates")
        demonstration.execute("UPDATE prompt_templates SET description = 'still writable' WHERE template_id = 'x'")
        assert demonstration.rows("SELECT * FROM stages ORDER BY 1") == demonstration.rows(
            "SELECT * FROM before.stages ORDER BY 1"
        )
    assert run(demonstration.url, tmp_path).code == 0, "the default business is remembered"
    assert violations(demonstration, default_business) == {}


DEFECTS = (
    "DELETE FROM templates WHERE template_id = (SELECT min(target_id::text)::uuid FROM pipelines.id_map)",
    "UPDATE templates SET content = content || ' ' WHERE template_name NOT LIKE 'New style%'",
    "UPDATE templates SET template_name = left(template_name, 9) || '!' WHERE template_name NOT LIKE 'New style%'",
    "UPDATE templates SET template_type = 'other' WHERE template_name NOT LIKE 'New style%'",
    "UPDATE templates SET updated_at = NULL WHERE template_name LIKE 'New style%'",
    "UPDATE stages SET stage_selection_template_id = (SELECT min(template_id) FROM before.prompt_templates)",
    "UPDATE stages SET stage_selection_template_id = NULL",
    "UPDATE stages SET stage_name = 'renamed'",
    "UPDATE pipelines.id_map SET owner_rule = 'copy'",
    "INSERT INTO templates SELECT gen_random_uuid(), business_id, 'n', 't', 'c' FROM businesses",
    "CREATE TRIGGER left_behind BEFORE UPDATE ON stages EXECUTE FUNCTION pipelines.refuse_write('x')",
)


def test_the_oracle_of_these_tests_sees_what_it_is_there_for(
    demonstration: Application, default_business: str, tmp_path: Path
) -> None:
    demonstration.snapshot()
    assert run(demonstration.url, tmp_path, "--default-business", DEFAULT).code == 0
    for defect in DEFECTS:
        demonstration.execute("BEGIN")
        demonstration.execute(defect)
        assert violations(demonstration, default_business) != {}, defect
        demonstration.execute("ROLLBACK")
    assert violations(demonstration, default_business) == {}
