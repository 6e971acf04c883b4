"""The notebooks run from top to bottom in a kernel of their own, and are stored without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.acceptance.test_migrations import ONE_VERSION
from tests.application import Application
from tests.command import ROOT, call, run
from tests.pooler import pgbouncer

NOTEBOOKS = ROOT / "notebooks"


def executed(name: str, *questions: str) -> list[str]:
    """Run a notebook, then ask for these expressions. Returns what they are, as text."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    notebook.cells += [nbformat.v4.new_code_cell(f"print({question})") for question in questions]
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [cell.outputs[0].text.strip() for cell in notebook.cells[len(notebook.cells) - len(questions) :]]


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if "outputs" in cell)


def test_the_source_is_profiled_before_a_move_and_nothing_is_written(
    demonstration: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", demonstration.url)
    places = demonstration.places()
    rows, used = executed("profile_source", "types['rows'].sum()", "len(uses)")
    assert int(rows) == 600
    assert int(used) == demonstration.value(
        "SELECT count(*) FROM prompt_templates p WHERE EXISTS (SELECT FROM stages s WHERE p.template_id IN"
        " (s.stage_selection_template_id, s.data_extraction_template_id, s.response_generation_template_id))"
    )
    assert demonstration.places() == places


def test_a_finished_run_is_reviewed(
    demonstration: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(demonstration.url, tmp_path, "--default-business", "Acme Robotics").code == 0
    monkeypatch.setenv("DATABASE_URL", demonstration.url)
    rows, undecided, states, changed = executed(
        "review_run", "balance['rows'].sum()", "len(decide)", "set(runs['state'])", "changes['changed'].sum()"
    )
    assert int(rows) == demonstration.value("SELECT count(*) FROM pipelines.id_map")
    assert (undecided, states) == ("0", "{'done'}")
    assert int(changed) == demonstration.value("SELECT count(*) FROM pipelines.reference_change")


def test_both_read_through_a_pooler_and_by_whatever_libpq_takes_for_a_url(
    demonstration: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pgbouncer(demonstration.url, pool_mode="session") as url:
        monkeypatch.setenv("DATABASE_URL", url.replace("postgresql://", "postgres://"))
        assert executed("profile_source", "types['rows'].sum()") == ["600"]
        assert executed("review_run", "len(runs)") == ["0"]


def other_verb(application: Application, folder: Path, verb: str) -> None:
    more = ("--archive", str(folder / "archive")) if verb == "purge" else ()
    answer = call(verb, "--yes", "--report-dir", str(folder), *more, DATABASE_URL=application.url)
    assert answer.code == 0, answer.err


@ONE_VERSION
def test_both_run_in_every_state_of_the_move(
    demonstration: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", demonstration.url)
    default = ("--default-business", "Acme Robotics")
    steps = {
        "not begun": (lambda: None, 600, 0),
        "copied": (lambda: run(demonstration.url, tmp_path, "--until", "copy", *default), 600, 1),
        "done": (lambda: run(demonstration.url, tmp_path, *default), 600, 2),
        "rolled back": (lambda: other_verb(demonstration, tmp_path, "rollback"), 600, 3),
        "done again": (lambda: run(demonstration.url, tmp_path, *default), 600, 4),
        "purged": (lambda: other_verb(demonstration, tmp_path, "purge"), 0, 5),
    }
    for state, (step, rows, attempts) in steps.items():
        step()
        assert executed("profile_source", "types['rows'].sum()") == [str(rows)], state
        assert executed("review_run", "len(runs)") == [str(attempts)], state
