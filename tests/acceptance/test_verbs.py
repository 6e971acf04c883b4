"""plan, status, verify, report and demo, through the real command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.application import Application
from tests.command import ROOT, call, run

DEFAULT = "Northwind Support"


def test_plan_predicts_what_run_does_and_writes_nothing(demonstration: Application, tmp_path: Path) -> None:
    places = demonstration.places()
    plan = call("plan", "--json", "--default-business", DEFAULT, DATABASE_URL=demonstration.url)
    assert plan.code == 0, plan.err
    assert demonstration.places() == places
    assert not demonstration.exists("pipelines.run")
    done = run(demonstration.url, tmp_path, "--default-business", DEFAULT).json
    predicted = plan.json
    for name in ("source_rows", "fan_out_copies", "inserted", "rejected"):
        assert predicted[name] == done[name]
    assert predicted["references"]["to_rewire"] == done["references"]["rewired"]
    for name in ("already_current", "foreign", "dangling", "null"):
        assert predicted["references"][name] == done["references"][name]


def test_status_follows_the_move_and_writes_nothing(demonstration: Application, tmp_path: Path) -> None:
    before = call("status", "--json", DATABASE_URL=demonstration.url)
    assert (before.code, before.json["state"], before.json["source_rows"]) == (0, "not_started", 600)
    assert not demonstration.exists("pipelines.run")
    run(demonstration.url, tmp_path, "--default-business", DEFAULT)
    places = demonstration.places()
    after = call("status", "--json", DATABASE_URL=demonstration.url)
    assert (after.code, after.json["state"]) == (0, "done")
    assert demonstration.places() == places


def test_verify_checks_before_and_after_and_writes_only_a_report(demonstration: Application, tmp_path: Path) -> None:
    options = ("--json", "--report-dir", str(tmp_path))
    before = call("verify", *options, DATABASE_URL=demonstration.url)
    assert before.code == 0, before.err
    assert before.json["gate"]["failed_warning"] > 0
    assert call("verify", "--suite", "target", *options, DATABASE_URL=demonstration.url).code == 3
    assert call("verify", "--suite", "nonsense", *options, DATABASE_URL=demonstration.url).code == 2
    assert run(demonstration.url, tmp_path, "--default-business", DEFAULT).code == 0
    places = demonstration.places()
    assert call("verify", *options, DATABASE_URL=demonstration.url).code == 0
    assert demonstration.places() == places
    # A tenant's own edit after the move is information; a lost map row is not.
    demonstration.execute("UPDATE templates SET content = 'edited' WHERE template_name LIKE 'Short%'")
    assert call("verify", *options, DATABASE_URL=demonstration.url).code == 0
    demonstration.execute(
        "DELETE FROM pipelines.id_map WHERE source_id = (SELECT min(source_id) FROM pipelines.id_map)"
    )
    broken = call("verify", "--suite", "reconciliation", *options, DATABASE_URL=demonstration.url)
    assert broken.code == 8
    assert "balance_holds" in broken.err


def test_report_is_written_again_from_the_journal_alone(demonstration: Application, tmp_path: Path) -> None:
    assert call("report", DATABASE_URL=demonstration.url).code == 2
    first = run(demonstration.url, tmp_path / "first", "--default-business", DEFAULT).json
    again = call("report", "--json", "--report-dir", str(tmp_path / "second"), DATABASE_URL=demonstration.url)
    assert again.code == 0, again.err
    old, new = Path(first["report"]), Path(again.json["report"])
    assert old.read_text(encoding="utf-8") == new.read_text(encoding="utf-8")
    summary = json.loads((new.parent / "summary.json").read_text(encoding="utf-8"))
    assert summary["inserted"] == demonstration.value("SELECT count(*) FROM pipelines.id_map")
    assert {check["suite"] for check in summary["checks"]} == {"source", "target", "references", "reconciliation"}


def test_a_foreign_key_to_the_old_table_leaves_and_is_recorded(application: Application, tmp_path: Path) -> None:
    business = application.business(1)
    application.template("a")
    application.stage(1, business, "a")
    application.execute(
        "ALTER TABLE stages ADD CONSTRAINT to_old FOREIGN KEY (stage_selection_template_id)"
        " REFERENCES prompt_templates; COMMENT ON CONSTRAINT to_old ON stages IS 'kept'"
    )
    answer = run(application.url, tmp_path)
    assert answer.code == 0, answer.err
    assert application.value("SELECT count(*) FROM pg_constraint WHERE conname = 'to_old'") == 0
    assert application.rows("SELECT constraint_name, comment, validated FROM pipelines.foreign_key") == [
        ("to_old", "kept", True)
    ]


def test_a_foreign_key_comes_back_where_the_gate_stays_closed(application: Application, tmp_path: Path) -> None:
    business = application.business(1)
    application.template("a")
    application.stage(1, business, "a")
    application.execute(
        "ALTER TABLE stages ADD CONSTRAINT to_old FOREIGN KEY (stage_selection_template_id)"
        " REFERENCES prompt_templates ON DELETE RESTRICT; COMMENT ON CONSTRAINT to_old ON stages IS 'kept'"
    )
    definition = "SELECT pg_get_constraintdef(oid), obj_description(oid), convalidated FROM pg_constraint WHERE conname = 'to_old'"
    before = application.rows(definition)
    assert run(application.url, tmp_path, "--max-write-pause", "1ms").code == 6
    assert application.rows(definition) == before
    assert application.value("SELECT count(*) FROM pipelines.foreign_key") == 0


@pytest.mark.timeout(600)
def test_a_newcomer_runs_the_demonstration_twice_without_any_database(tmp_path: Path) -> None:
    for part in ("pipelines", "sql", "expectations"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    refused = call("demo", cwd=tmp_path, DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert refused.code == 2
    assert call("run", cwd=tmp_path).code == 2, "nobody has asked for it"
    first = call("run", "--demo", cwd=tmp_path)
    assert first.code == 0, first.err
    lines = first.out.strip().splitlines()
    assert lines[0].startswith("DEMONSTRATION")
    assert lines[-1].startswith("DEMONSTRATION")
    second = call("run", "--json", "--demo", cwd=tmp_path)
    assert (second.code, second.json["database"], second.json["rows_written"]) == (0, "demo", 0)
    assert "Nothing is left to do" in second.err
    assert call("demo", "--reset", "--rows", "50", cwd=tmp_path).code == 0
    assert call("status", "--json", "--demo", cwd=tmp_path).json["source_rows"] == 50
