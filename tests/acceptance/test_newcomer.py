"""What a newcomer is promised: two commands, and no real database in danger."""

from __future__ import annotations

import os
import subprocess

import psycopg2
import pytest

from pipelines.templates import demo
from tests.application import Application
from tests.command import ROOT


def test_make_run_cannot_see_a_real_database_whatever_the_environment_says() -> None:
    found = subprocess.run(
        ["make", "--dry-run", "run", "CLEAN_PROBE=1"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": "postgresql://real/one", "PGHOST": "real"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (line,) = [line for line in found.splitlines() if "pipelines.templates run" in line]
    kept = line.split("env -i ")[1].split(" .venv/bin/python")[0]
    # What the shell makes of that line, with a real database in the environment.
    seen = subprocess.run(
        f"env -i {kept} env",
        shell=True,
        env={**os.environ, "DATABASE_URL": "postgresql://real/one", "PGHOST": "real", "PIPELINES_WORKERS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "PATH=" in seen
    assert not [name for name in seen.splitlines() if name.startswith(("DATABASE", "PG", "PIPELINES"))]


def test_ci_calls_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make run" in readme
    assert "make test" in readme


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_the_demonstration_is_the_same_each_time_and_of_any_size(application: Application, url: str, rows: int) -> None:
    kept = []
    for schema in ("one", "two"):
        application.execute(f"CREATE SCHEMA {schema}")
        connection = psycopg2.connect(url, options=f"-c search_path={schema}")
        demo.create(connection, rows=rows)
        connection.close()
        kept.append(
            [
                application.rows(f"SELECT * FROM {schema}.prompt_templates ORDER BY 1"),
                application.rows(f"SELECT stage_id, stage_selection_template_id FROM {schema}.stages ORDER BY 1"),
            ]
        )
    assert kept[0] == kept[1]
    assert len(kept[0][0]) == rows
