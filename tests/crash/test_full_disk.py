"""A disk of the server that is full in the middle: an end with its reason, nothing half, and room is all that it takes."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest

from pipelines.templates import demo
from tests.application import Application
from tests.conftest import empty_database
from tests.crash.nursery import Nursery


@pytest.fixture
def small_disk(server: str, tmp_path: Path):
    """A tablespace of two megabytes that can be made larger."""
    with empty_database(server) as url, Application(url) as application:
        folder = Path(application.value("SHOW data_directory")).with_name("small_disk")
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
        )
        if done.returncode:
            folder.rmdir()
            pytest.skip("no tmpfs can be mounted here")
        try:
            subprocess.run(["chown", f"--reference={folder.parent / 'data'}", str(folder)], check=True)
            application.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
            yield application, folder
            application.execute("DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS pipelines CASCADE")
            with suppress(psycopg2.Error):
                application.execute("CHECKPOINT; DROP TABLESPACE small")
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_tablespace_ends_the_run_and_the_next_one_goes_on_when_there_is_room(
    small_disk: tuple[Application, Path], nursery: Nursery, tmp_path: Path
) -> None:
    application, folder = small_disk
    connection = psycopg2.connect(application.url)
    demo.create(connection, rows=8_000)
    connection.close()
    application.execute("ALTER TABLE templates SET TABLESPACE small")
    options = ("run", "--json", "--default-business", demo.DEFAULT_BUSINESS, "--report-dir", str(tmp_path))

    full = nursery.call(application.url, *options)

    assert full.code == 7, full.err
    assert "53100" in full.err
    whole = "SELECT count(*) FROM templates WHERE template_name NOT LIKE 'New style %%'"
    assert application.value(whole, ()) == application.value("SELECT count(*) FROM pipelines.id_map WHERE loaded")
    assert application.exists("public.prompt_templates")
    subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
    again = nursery.call(application.url, *options)
    assert again.code == 0, again.err
    assert application.value("SELECT count(DISTINCT source_id) FROM pipelines.id_map") == 8_000
