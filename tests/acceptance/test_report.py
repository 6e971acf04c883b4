"""The report that people read: its numbers are those of the tables, it names the rows, and the journal keeps it all."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.application import Application
from tests.command import call, run

DEFAULT = "Northwind Support"
COLUMNS = ("stage_selection_template_id", "data_extraction_template_id", "response_generation_template_id")


def facts(page: str) -> dict[str, Any]:
    return json.loads((Path(page).parent / "summary.json").read_text(encoding="utf-8"))


def lines(page: str, name: str) -> list[dict[str, str]]:
    with (Path(page).parent / f"{name}.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def files(page: str) -> dict[str, str]:
    """Every file of a report, without the names of its own folder."""
    folder = Path(page).parent
    return {
        path.name: path.read_text(encoding="utf-8").replace(str(folder), "FOLDER") for path in sorted(folder.iterdir())
    }


def test_the_numbers_of_the_report_equal_a_recount_by_plain_sql(demonstration: Application, tmp_path: Path) -> None:
    demonstration.snapshot()
    page = run(demonstration.url, tmp_path, "--default-business", DEFAULT).json["report"]
    found = facts(page)
    one = demonstration.value
    old = one("SELECT retired_schema FROM pipelines.move") + ".prompt_templates"

    assert found["source_rows"] == one(f"SELECT count(*) FROM {old}") == 600
    came = one("SELECT count(*) FROM templates") - one("SELECT count(*) FROM before.templates")
    assert found["inserted"] == came == found["source_rows"] + found["fan_out_copies"]
    owners: Counter[str] = Counter()
    for line in found["owners"]:
        owners[line["owner"]] += line["rows"]
    assert dict(owners) == dict(
        demonstration.rows(
            "SELECT b.business_name, count(*) FROM templates t JOIN businesses b USING (business_id)"
            " WHERE t.template_id NOT IN (SELECT template_id FROM before.templates) GROUP BY 1"
        )
    )
    for line in found["references_by_column"]:
        column = line["column"]
        rewired, empty, foreign = demonstration.rows(
            f"SELECT count(*) FILTER (WHERE b.{column} IS DISTINCT FROM s.{column}),"
            f" count(*) FILTER (WHERE s.{column} IS NULL), count(*) FILTER (WHERE t.business_id <> s.business_id)"
            " FROM stages s JOIN before.stages b USING (stage_id)"
            f" LEFT JOIN templates t ON t.template_id::text = s.{column}"
        )[0]
        assert (line.get("rewired", 0), line.get("null", 0), line.get("foreign", 0)) == (rewired, empty, foreign)
    assert {line["column"] for line in found["references_by_column"]} == set(COLUMNS)
    assert sum(line["rewired"] for line in found["references_by_column"]) == found["references"]["rewired"]
    assert {line["column"]: line["rows"] for line in found["not_carried"]} == {
        "description": one(f"SELECT count(*) FROM {old} WHERE description <> ''"),
        "variables": one(f"SELECT count(*) FROM {old} WHERE variables <> '{{}}'"),
    }
    assert found["decisions"]["unknown"]["total"] == one("SELECT count(*) FROM before.templates")
    text = Path(page).read_text(encoding="utf-8")
    for number in (found["source_rows"], found["fan_out_copies"], found["references"]["rewired"]):
        assert f"<strong>{number:,}</strong>" in text or f"{number:,} copies" in text
    warned = {check["expectation"]: check["unexpected_count"] for check in found["checks"] if not check["success"]}
    assert warned["name_is_there"] == one(f"SELECT count(*) FROM {old} WHERE template_name IS NULL")
    assert warned["id_is_in_the_usual_spelling"] == one(
        f"SELECT count(*) FROM {old} WHERE template_id ~ '^[0-9A-F-]{{36}}$'"
    )


@pytest.fixture
def trouble(application: Application) -> dict[str, str]:
    """One row of each kind that needs a decision."""
    business, other = application.business(1), application.business(2)
    taken = application.template("00000000-0000-4000-8000-0000000000aa", "the old text")
    application.execute(
        "INSERT INTO templates VALUES (%s, %s, 'name', 't', 'another text'),"
        " ('00000000-0000-4000-8000-0000000000bb', %s, 'behind the back', 't', 'unknown')",
        (taken, business, business),
    )
    application.template("=1+1", variables=["name"])
    stage = application.stage(1, other, "@nowhere", "=1+1", taken)
    return {"business": business, "taken": taken, "stage": stage}


def test_a_closed_gate_is_one_table_and_the_report_names_the_rows(
    application: Application, trouble: dict[str, str], tmp_path: Path
) -> None:
    answer = run(application.url, tmp_path / "first", "--default-business", trouble["business"])
    assert answer.code == 4
    heads = re.findall(r"^expectation +severity +rows +for example +what to do *$", answer.err, re.M)
    assert len(heads) == 1, answer.err
    for said in ("references/nothing_dangles", "reconciliation/no_conflicts", "--allow-dangling", "--on-conflict"):
        assert said in answer.err
    assert "decisions" not in answer.json

    page = answer.json["report"]
    (conflict,) = lines(page, "conflicts")
    assert conflict["source_id"] == trouble["taken"]
    for side, name, text in (("old_text", "template_text", "the old text"), ("new_text", "content", "another text")):
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        assert conflict[side] == f"{name}: 12 characters, SHA-256 {digest}"
    assert [(line["row_key"], line["value"]) for line in lines(page, "dangling")] == [(trouble["stage"], "'@nowhere")]
    assert [line["target_id"] for line in lines(page, "unknown")] == ["00000000-0000-4000-8000-0000000000bb"]
    text = Path(page).read_text(encoding="utf-8")
    assert trouble["stage"] in text
    assert "another text" not in text

    again = call("report", "--json", "--report-dir", str(tmp_path / "again"), DATABASE_URL=application.url)
    assert again.code == 0, again.err
    assert {**files(page), "summary.json": ""} == {**files(again.json["report"]), "summary.json": ""}
    options = ("--json", "--show-content", "--report-dir", str(tmp_path / "texts"), "--run", "1")
    shown = Path(call("report", *options, DATABASE_URL=application.url).json["report"]).read_text(encoding="utf-8")
    assert "the old text" in shown
    assert "another text" in shown


def test_past_runs_and_checks_are_listed(application: Application, trouble: dict[str, str], tmp_path: Path) -> None:
    empty = call("report", "--list", "--json", DATABASE_URL=application.url)
    assert (empty.code, empty.json["runs"]) == (0, [])
    run(application.url, tmp_path, "--default-business", trouble["business"])
    run(application.url, tmp_path, "--until", "copy")
    listed = call("report", "--list", "--json", DATABASE_URL=application.url)
    assert [(one["run_id"], one["state"]) for one in listed.json["runs"]] == [(2, "stopped"), (1, "stopped")]
    assert listed.json["runs"][1]["gate"]["failed_critical"] > 0
    assert "gate is closed" in call("report", "--list", DATABASE_URL=application.url).out

    checks = call("verify", "--list", "--json", "--report-dir", str(tmp_path / "none"), DATABASE_URL=application.url)
    assert checks.code == 0, checks.err
    assert all(check["reason"] and check["remedy"] for check in checks.json["checks"])
    assert "nothing_dangles" in {check["expectation"] for check in checks.json["checks"]}
    assert not (tmp_path / "none").exists(), "it only shows"


def test_a_rehearsal_that_is_repeated_after_a_repair_stays_one(application: Application, tmp_path: Path) -> None:
    business = application.business(1)
    application.template("a")
    application.stage(1, business, "nowhere")
    answer = run(application.url, tmp_path, "--until", "verify")
    assert answer.code == 4, answer.err
    assert "run --until verify" in answer.json["next"]["again"]
    page = Path(answer.json["report"]).read_text(encoding="utf-8")
    assert page.count("templates run --until verify") == 1, "the command after 'Put the rows right, then'"
    assert "templates run --report-dir" not in page
