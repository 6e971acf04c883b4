"""Reports and archives go into folders of our own: named after their database, closed to others, never through a link."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tests.application import Application
from tests.command import call, run
from tests.conftest import empty_database


def moved(application: Application, folder: Path):
    application.business(1)
    application.template("x")
    return run(application.url, folder)


def report_of(application: Application, folder: Path) -> Path:
    answer = moved(application, folder)
    assert answer.code == 0, answer.err
    return Path(answer.json["report"])


def test_two_databases_with_the_same_run_number_keep_their_reports_apart(
    application: Application, server: str, tmp_path: Path
) -> None:
    first = report_of(application, tmp_path)
    before = first.read_bytes()
    with empty_database(server) as other_url, Application(other_url) as other:
        from pipelines.templates import demo

        other.execute(demo.SCHEMA.read_text(encoding="utf-8"))
        second = report_of(other, tmp_path)
        assert second != first
        assert other.value("SELECT current_database()") in second.parent.name
        purged = [
            call("purge", "--yes", "--archive", str(tmp_path / "archive"), DATABASE_URL=url)
            for url in (application.url, other_url)
        ]
        assert [answer.code for answer in purged] == [0, 0], purged
        assert len(list((tmp_path / "archive").iterdir())) == 2
        back = call("rollback", "--archive", str(tmp_path / "archive"), DATABASE_URL=other_url)
        assert back.code == 0, back.err
    assert first.read_bytes() == before
    assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in first.parent.iterdir()} == {0o600}


def test_a_link_in_the_place_of_a_report_is_not_followed_and_the_move_stands(
    application: Application, tmp_path: Path
) -> None:
    first = report_of(application, tmp_path / "reports")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.csv").write_text("keep")
    planted = first.parent.with_name(first.parent.name.replace("run-1", "run-2"))
    planted.symlink_to(elsewhere)

    again = run(application.url, tmp_path / "reports")

    assert (again.code, "link" in again.err, str(planted) in again.err) == (74, True, True), again.err
    assert [path.name for path in elsewhere.iterdir()] == ["mine.csv"]
    assert application.value("SELECT state FROM pipelines.run ORDER BY run_id DESC LIMIT 1") == "done"
    planted.unlink()
    written = call("report", "--run", "2", "--report-dir", str(tmp_path / "reports"), DATABASE_URL=application.url)
    assert (written.code, (planted / "report.html").is_file()) == (0, True), written.err


def test_a_folder_of_somebody_else_and_a_link_in_the_place_of_an_archive_are_refused(
    application: Application, tmp_path: Path
) -> None:
    first = report_of(application, tmp_path)
    theirs = first.parent.with_name(first.parent.name.replace("run-1", "run-2"))
    theirs.mkdir()
    if os.geteuid() == 0:
        os.chown(theirs, 12345, 12345)
        again = run(application.url, tmp_path)
        assert (again.code, "somebody else" in again.err) == (74, True), again.err
        assert list(theirs.iterdir()) == []
    archive = tmp_path / "archive"
    archive.mkdir()
    name = first.parent.name.replace("run-1", "run-3")
    (archive / name).symlink_to(tmp_path)
    for number in (3, 4):  # the attempt that meets the link is 2 or 3, as the one above
        (archive / name.replace("run-3", f"run-{number}")).unlink(missing_ok=True)
        (archive / name.replace("run-3", f"run-{number}")).symlink_to(tmp_path)
    purge = call("purge", "--yes", "--archive", str(archive), DATABASE_URL=application.url)
    assert (purge.code, "File exists" in purge.err) == (3, True), purge.err
    assert application.value("SELECT milestone FROM pipelines.move") == "confirmed"
