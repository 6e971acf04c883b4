"""Every documented exit code, provoked for real; what happened, what was left untouched, what to do next."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import psycopg2

from pipelines.table_move.database.lock import lock_key
from pipelines.table_move.errors import EXIT_CODES
from tests.application import Application
from tests.command import ROOT, call, run, start


def test_help_and_readme_name_every_exit_code() -> None:
    answer = call("--help")
    assert answer.code == 0
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for code, meaning in EXIT_CODES.items():
        assert re.search(rf"^\s+{code}  {re.escape(meaning[:12])}", answer.out, re.MULTILINE)
        assert f"| {code} |" in readme


def test_2_for_a_call_that_cannot_be_understood(tmp_path: Path) -> None:
    secret = "s3cr3t-canary"
    for arguments, environment in (
        (["--grace", "soon"], {"DATABASE_URL": "postgresql://h/d"}),
        ([], {"DATABASE_URL": ""}),
        ([], {"DATABASE_URL": f"mysql://u:{secret}@h/d"}),
        ([], {"DATABASE_URL": f"postgresql://u:{secret}@h/d?passwrd={secret}"}),
        ([], {"PGHOST": "somewhere"}),
        (["--no-such-option"], {"DATABASE_URL": "postgresql://h/d"}),
        ([], {"DATABASE_URL": "postgresql://h/d", "PIPELINES_WORKERS": "many"}),
    ):
        answer = call("run", *arguments, "--report-dir", str(tmp_path), **environment)
        assert answer.code == 2, (arguments, environment, answer)
        assert secret not in answer.out + answer.err
        assert "Traceback" not in answer.err


def test_3_where_something_has_to_be_put_right_first(application: Application, tmp_path: Path) -> None:
    application.business(1)
    application.business(2)
    application.template("alone")
    application.execute("CREATE VIEW pretty AS SELECT * FROM prompt_templates")
    places = application.places()
    for verb in ("plan", "run"):
        answer = call(verb, "--json", DATABASE_URL=application.url)
        assert answer.code == 3
        codes = {blocker["code"] for blocker in answer.json["blockers"]}
        assert codes == {"dependent_object"}
    application.execute("DROP VIEW pretty")
    answer = call("plan", "--json", DATABASE_URL=application.url)
    assert answer.code == 3
    (blocker,) = answer.json["blockers"]
    assert blocker["code"] == "no_owner"
    assert "alone" in blocker["message"]
    assert "--default-business" in blocker["remedy"]
    assert call("run", "--default-business", "Nobody", DATABASE_URL=application.url).code == 3
    assert application.places() == places
    assert not application.exists("pipelines.run")
    missing = application.url.replace("/test_", "/no_such_")
    assert call("status", DATABASE_URL=missing).code == 3
    assert run(application.url, tmp_path, "--default-business", "Business 1").code == 0, "the remedy's command works"


def test_4_where_a_check_fails_and_the_old_table_is_kept(application: Application, tmp_path: Path) -> None:
    business = application.business(1)
    application.template("a")
    application.stage(1, business, "a", "no-such-template")

    answer = run(application.url, tmp_path)

    assert answer.code == 4, answer.err
    assert "nothing_dangles" in answer.err
    assert answer.json["state"] == "stopped"
    assert answer.json["references"]["dangling"] == 1
    assert application.exists("public.prompt_templates")
    application.execute("INSERT INTO prompt_templates VALUES ('b', 'the old world goes on')")
    assert call("status", "--json", DATABASE_URL=application.url).json["state"] == "stopped"
    again = run(application.url, tmp_path, "--allow-dangling")
    assert again.code == 0, again.err
    assert application.value("SELECT count(*) FROM templates") == 2
    assert application.value("SELECT data_extraction_template_id FROM stages") == "no-such-template"


def test_4_where_a_suite_cannot_be_trusted_before_anything_is_copied(application: Application, tmp_path: Path) -> None:
    import shutil

    for part in ("pipelines", "sql", "expectations"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    application.business(1)
    application.template("a")
    suite = tmp_path / "expectations" / "templates" / "target.json"
    good = suite.read_text(encoding="utf-8")
    for bad in (
        "",
        '{"expectations": []}',
        good.replace('"critical"', '"critcal"'),
        good.replace('"critical"', '"warning"'),
        good.replace("expect_column_values_to_be_in_set", "expect_column_values_in_set"),
    ):
        suite.write_text(bad, encoding="utf-8")
        answer = call("run", cwd=tmp_path, DATABASE_URL=application.url)
        assert answer.code == 4, answer
        assert "target.json" in answer.err
        assert not application.exists("pipelines.run")
    suite.unlink()
    assert call("run", cwd=tmp_path, DATABASE_URL=application.url).code == 4
    odd = good.replace('"value_set": [', '"value_sets": [', 1)
    suite.write_text(odd, encoding="utf-8")
    answer = call("run", cwd=tmp_path, DATABASE_URL=application.url)
    assert answer.code == 4, answer.err
    assert "does not take the arguments of the check row_is_there" in answer.err
    raising = good.replace('"column": "source_as_read"', '"column": "no_such_column"')
    suite.write_text(raising, encoding="utf-8")
    answer = call("run", "--json", cwd=tmp_path, DATABASE_URL=application.url)
    assert answer.code == 4
    assert "could not be evaluated" in answer.err
    assert application.exists("public.prompt_templates")


def test_5_while_another_run_is_active(application: Application) -> None:
    application.business(1)
    other = psycopg2.connect(application.url, application_name="another pipeline")
    other.autocommit = True
    other.cursor().execute("SELECT pg_advisory_lock(%(class)s, %(object)s)", lock_key("templates"))

    answer = call("run", DATABASE_URL=application.url)
    status = call("status", "--json", DATABASE_URL=application.url)

    assert answer.code == 5
    assert "another pipeline" in answer.err
    assert status.code == 0
    assert status.json["lock_holder"]["application"] == "another pipeline"
    application.execute("CREATE ROLE lock_watcher LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO lock_watcher")
    watched = call("status", DATABASE_URL=application.url.replace("postgres:@", "lock_watcher@"))
    assert watched.code == 0, watched.err
    assert "a session of another role, which ours may not look into" in watched.out
    application.execute("DROP OWNED BY lock_watcher; DROP ROLE lock_watcher")
    other.close()


def test_6_where_a_lock_is_not_to_be_had_and_the_old_world_goes_on(application: Application, tmp_path: Path) -> None:
    business = application.business(1)
    application.template("a")
    application.stage(1, business, "a")
    blocker = psycopg2.connect(application.url, application_name="a long transaction")
    blocker.cursor().execute("UPDATE stages SET stage_name = 'held'")

    answer = run(application.url, tmp_path, "--lock-wait", "2s")

    assert answer.code == 6, answer.err
    assert "a long transaction" in answer.err
    application.execute("INSERT INTO prompt_templates VALUES ('b', 'not frozen')")
    assert application.value("SELECT stage_selection_template_id FROM stages") == "a"
    blocker.rollback()
    blocker.close()
    assert run(application.url, tmp_path).code == 0


def test_6_where_the_write_pause_would_be_too_long(application: Application, tmp_path: Path) -> None:
    application.business(1)
    application.template("a")
    answer = run(application.url, tmp_path, "--max-write-pause", "1ms")
    assert answer.code == 6, answer.err
    assert "--max-write-pause" in answer.err
    application.execute("INSERT INTO prompt_templates VALUES ('b', 'not frozen')")


def test_7_where_the_database_is_away() -> None:
    answer = call("plan", DATABASE_URL="postgresql://nobody:hidden-canary@127.0.0.1:1/none")
    assert answer.code == 7
    assert "hidden-canary" not in answer.out + answer.err


def test_74_where_the_move_stands_and_its_report_cannot_be_written(application: Application, tmp_path: Path) -> None:
    application.business(1)
    application.template("a")
    (tmp_path / "reports").write_text("a file where the folder should be", encoding="utf-8")
    answer = run(application.url, tmp_path / "reports")
    assert answer.code == 74, answer.err
    assert application.value("SELECT state FROM pipelines.run") == "done"
    assert call("report", "--report-dir", str(tmp_path / "other"), DATABASE_URL=application.url).code == 0


def test_130_and_143_for_signals_and_the_next_run_goes_on(application: Application, tmp_path: Path) -> None:
    business = application.business(1)
    application.template("a")
    application.stage(1, business, "a")
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        blocker = psycopg2.connect(application.url)
        blocker.cursor().execute("LOCK TABLE stages IN ROW EXCLUSIVE MODE")
        process = start("run", "--json", "--report-dir", str(tmp_path), DATABASE_URL=application.url)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if application.exists("pipelines.run") and application.value(
                "SELECT count(*) FROM pipelines.run WHERE state = 'running' AND phase = 'cutover'"
            ):
                break
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert "Traceback" not in err
        blocker.close()
        assert application.value("SELECT state FROM pipelines.run ORDER BY run_id DESC LIMIT 1") == "interrupted"
    assert run(application.url, tmp_path).code == 0


def test_2_where_it_is_not_clear_which_database_is_meant() -> None:
    for arguments, given, said in (
        ((), {}, "--demo"),
        (("--demo",), {"DATABASE_URL": "postgresql://h/d"}, "without --demo"),
        (("--demo",), {"PGHOST": "db.example"}, "postgresql://db.example/DATABASE"),
        (
            (),
            {"PGHOST": "db.example", "PGPORT": "6432", "PGUSER": "a b", "PGDATABASE": "app", "PGPASSWORD": "s3cr3t"},
            "postgresql://a%20b@db.example:6432/app",
        ),
        ((), {"PGSERVICE": "ours"}, "postgresql:///?service=ours"),
        ((), {"DATABASE_URL": " "}, "postgresql://USER@HOST:5432/DATABASE"),
    ):
        answer = call("run", "--json", *arguments, **given)
        assert answer.code == 2, (arguments, given, answer)
        assert said in answer.err
        assert "s3cr3t" not in answer.err
        assert answer.json["world"] is None
    answer = call("run", "--json", "--demo", module="pipelines.default_templates")
    assert answer.code == 2
    assert "has no demonstration" in answer.err


def test_2_where_a_table_would_be_dropped_and_nobody_can_be_asked(application: Application, tmp_path: Path) -> None:
    application.business(1)
    application.template("a")
    places = application.places()
    for arguments in (("purge",), ("run", "--drop"), ("run", "--drop", "--until", "copy", "--yes")):
        answer = call(*arguments, "--json", "--report-dir", str(tmp_path), DATABASE_URL=application.url)
        assert answer.code == 2, (arguments, answer)
        assert answer.json["world"] == "old_in_charge"
        assert application.places() == places
