"""A reference whose old row is there is never called one to nothing, and nobody is told to empty it: before the switch, in
an interrupted copy, and after it, where it was written late."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.test_world import interrupted
from tests.application import Application
from tests.command import run_here

DESTROYS = "Correct or empty"


def test_a_reference_to_a_row_that_is_not_copied_yet_is_left_alone(application: Application, tmp_path: Path) -> None:
    options = ("--json", "--grace", "0s", "--report-dir", str(tmp_path))
    business = application.business(1)
    application.template("a")
    application.stage(1, business, "a")
    assert run_here("run", "--until", "copy", *options, DATABASE_URL=application.url).code == 0
    application.template("since")
    application.stage(2, business, "since", "a")

    status = run_here("status", "--json", DATABASE_URL=application.url)

    counts = status.json["references"]
    assert (counts["not_copied"], counts["dangling"], counts["to_rewire"]) == (1, 0, 2)
    answer = run_here("run", "--until", "copy", *options, DATABASE_URL=application.url)
    assert answer.code == 0, answer.err
    page = Path(answer.json["report"]).read_text(encoding="utf-8")
    assert DESTROYS not in page
    assert not list(Path(answer.json["report"]).parent.glob("dangling.csv"))
    assert run_here("run", *options, DATABASE_URL=application.url).code == 0
    assert application.value("SELECT count(*) FROM stages WHERE stage_selection_template_id = 'since'") == 0


def test_a_late_reference_of_a_business_without_a_copy_is_not_to_be_emptied(
    application: Application, tmp_path: Path
) -> None:
    options = ("--report-dir", str(tmp_path))
    first, second = application.business(1), application.business(2)
    application.template("a")
    application.stage(1, first, "a")
    application.stage(2, second)
    when = "SELECT count(*) FROM pipelines.run WHERE phase = 'grace'"
    assert interrupted(application, "run", *options, "--grace", "1h", when=when).code == 130
    application.execute("UPDATE stages SET stage_selection_template_id = 'a' WHERE business_id = %s", (second,))

    answer = run_here("run", "--json", *options, "--grace", "0s", DATABASE_URL=application.url)

    assert answer.code == 8, answer.err
    assert "no_reference_waits_for_its_row" in answer.err
    assert "nothing_dangles" not in answer.err
    assert DESTROYS not in answer.err + Path(answer.json["report"]).read_text(encoding="utf-8")
    assert (answer.json["references"]["not_copied"], answer.json["references"]["dangling"]) == (1, 0)
