"""The notebooks run from top to bottom on a finished move, and are stored without outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.application import Application
from tests.command import ROOT, run


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_on_a_finished_move(
    demonstration: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notebook: Path
) -> None:
    assert run(demonstration.url, tmp_path, "--default-business", "Acme Robotics").code == 0
    monkeypatch.setenv("DATABASE_URL", demonstration.url)
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    names: dict[str, Any] = {}
    for cell in cells:
        exec("".join(cell["source"]), names)  # what a kernel would do; the cells hold no magic commands
    assert names["balance"]["rows"].sum() == demonstration.value("SELECT count(*) FROM pipelines.id_map")
    assert len(names["decide"]) == 0
    assert set(names["runs"]["state"]) == {"done"}
    names["engine"].dispose()
