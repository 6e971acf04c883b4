"""What the numbered migrations ask before they write, and what a way back leaves alone."""

from __future__ import annotations

from pathlib import Path

from pipelines.templates import demo
from tests.acceptance.test_migrations import folder, migrations, states  # noqa: F401  folder is a fixture
from tests.acceptance.test_terminal import typed_to
from tests.application import Application
from tests.command import call, run
from tests.postgres_tools import contents

TABLES = ("templates", "stages", "businesses")


def test_without_a_terminal_nothing_is_taken_back_without_yes(application: Application, folder: Path) -> None:  # noqa: F811
    assert migrations(application, "up", folder=folder).code == 0
    refused = migrations(application, "down", folder=folder)
    assert (refused.code, "03_three" in refused.err, "--yes" in refused.err) == (2, True, True)
    assert states(application, folder) == ["applied"] * 3
    assert migrations(application, "down", "--yes", folder=folder).json["taken_back"] == ["03_three"]


def test_a_loss_is_accepted_for_one_file_at_a_time(application: Application, folder: Path) -> None:  # noqa: F811
    assert migrations(application, "up", folder=folder).code == 0
    refused = migrations(application, "down", "--to", "1", "--yes", "--accept-loss", folder=folder)
    assert (refused.code, "03_three, 02_two" in refused.err) == (2, True)
    assert states(application, folder) == ["applied"] * 3
    for _ in range(2):
        assert migrations(application, "down", "--yes", "--accept-loss", folder=folder).code == 0
    assert states(application, folder) == ["applied", "pending", "pending"]


def test_on_a_terminal_files_and_database_are_named_and_confirmed_once(
    application: Application,
    folder: Path,  # noqa: F811
) -> None:
    name = application.value("SELECT current_database()")
    for verb, said in (("up", "Apply 01_one, 02_two, 03_three in"), ("down", "Take back 03_three in")):
        call_it = ("pipelines.migrations", application.url)
        before = application.catalog()
        code, shown = typed_to(*call_it, "n\n", verb, "--folder", str(folder))
        assert (code, said in shown, name in shown) == (2, True, True), shown
        assert application.catalog() == before, "nothing was written, not even the history"
        code, shown = typed_to(*call_it, "y\n", verb, "--folder", str(folder))
        assert code == 0, shown
    assert states(application, folder) == ["applied", "applied", "pending"]


def test_a_move_of_the_pipeline_is_not_taken_back_on_the_way(demonstration: Application, tmp_path: Path) -> None:
    url = demonstration.url
    moved = run(url, tmp_path, "--default-business", demo.DEFAULT_BUSINESS)
    assert moved.code == 0, moved.err
    up = call("up", "--to", "1", "--json", module="pipelines.migrations", DATABASE_URL=url)
    assert (up.code, "nothing is left to do" in up.err) == (0, True), up.err
    rows = contents(demonstration, *TABLES)

    back = call("down", "--to", "0", "--yes", "--json", module="pipelines.migrations", DATABASE_URL=url)

    assert (back.code, back.json["taken_back"]) == (0, ["01_cleanup_template_tables"]), back.err
    assert "python -m pipelines.templates rollback" in back.err
    assert contents(demonstration, *TABLES) == rows
    assert call("status", "--json", DATABASE_URL=url).json["state"] == "done"
    assert not demonstration.exists("public.prompt_templates")
    assert demonstration.value("SELECT count(*) FROM pipelines_migrations.applied") == 0
