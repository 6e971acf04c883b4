"""What an installation, a disk, an environment or a person does is told as what it is: exit 70 is for our own mistakes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.table_move.console import Console
from tests.application import Application
from tests.command import ROOT, Answer, environment, run_here

CANARY = "canary-8f3a"
BODIES = {
    "a table that is not there": ("INSERT INTO nowhere VALUES (1)", "42P01"),
    "a syntax error": ("EXECUTE 'SELEC 1'", "42601"),
    "a setting that only the application has": ("PERFORM current_setting('app.tenant')", "42704"),
    "a field that is not there": ("NEW.nothing := 1", "42703"),
    "a code of its own": (f"RAISE EXCEPTION '{CANARY}' USING ERRCODE = 'ZX123'", "ZX123"),
    "an internal error": (f"RAISE EXCEPTION '{CANARY}' USING ERRCODE = 'XX000'", "XX000"),
    "a code that means a lost connection": (f"RAISE EXCEPTION '{CANARY}' USING ERRCODE = '08006'", "08006"),
    "a code that means that it may work again": (f"RAISE EXCEPTION '{CANARY}' USING ERRCODE = '40001'", "40001"),
    "a code that means a deadlock": (f"RAISE EXCEPTION '{CANARY}' USING ERRCODE = '40P01'", "40P01"),
    "a code that means a lock": (f"RAISE EXCEPTION '{CANARY}' USING ERRCODE = '55P03'", "55P03"),
    "a code that means a timeout": (f"RAISE EXCEPTION '{CANARY}' USING ERRCODE = '57014'", "57014"),
    "a code that means that there is no room": (f"RAISE EXCEPTION '{CANARY}' USING ERRCODE = '53200'", "53200"),
}


def verb(application: Application, tmp_path: Path, name: str, *more: str) -> Answer:
    grace = ("--grace", "0s") if name == "run" else ()
    return run_here(name, "--json", *grace, *more, DATABASE_URL=application.url, PIPELINES_REPORT_DIR=str(tmp_path))


@pytest.fixture
def small(application: Application) -> Application:
    business = application.business(1)
    application.template("a")
    application.stage(1, business, "a")
    return application


def refuse(application: Application, table: str, event: str, body: str) -> None:
    application.execute(
        f"CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$"
    )
    application.execute(f"CREATE TRIGGER refuse BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()")


@pytest.mark.parametrize(("table", "event"), [("templates", "INSERT"), ("stages", "UPDATE")])
def test_a_trigger_that_fails_is_named_by_its_sqlstate(
    small: Application, table: str, event: str, tmp_path: Path
) -> None:
    for name, (body, sqlstate) in BODIES.items():
        refuse(small, table, event, body)
        answer = verb(small, tmp_path, "run")
        assert answer.code in (3, 4), (name, answer.err)
        assert sqlstate in answer.out + answer.err, (name, answer.err)
        assert CANARY not in answer.out + answer.err, name
        assert small.value("SELECT stage_selection_template_id FROM stages") == "a"
        small.execute(f"DROP TRIGGER refuse ON {table}")
    assert verb(small, tmp_path, "run").code == 0


def test_a_trigger_that_refuses_the_way_back(small: Application, tmp_path: Path) -> None:
    assert verb(small, tmp_path, "run").code == 0
    refuse(small, "stages", "UPDATE", BODIES["an internal error"][0])
    answer = verb(small, tmp_path, "rollback")
    assert answer.code == 3, answer.err
    assert "XX000" in answer.err
    small.execute("DROP TRIGGER refuse ON stages")
    assert verb(small, tmp_path, "rollback").code == 0


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--max-write-pause", ("99999999h", "0s", "0.0001ms", "-1s", "inf", "nan", "9" * 5000 + "s", "501h")),
        ("--lock-timeout", ("0s", "600h")),
        ("--lock-wait", ("0ms", "99999999999min")),
        ("--grace", ("1000h", "-5min")),
        ("--batch-bytes", ("0", "2GB", "-1MB", "9" * 5000)),
        ("--workers", ("0", "65", "9" * 30)),
        ("--default-business", ("\udcff",)),
        ("--schema", ("\udcff", "x" * 64)),
        ("--report-dir", ("\udcff",)),
    ],
)
def test_values_out_of_range_are_a_usage_error_that_names_the_option(option: str, values: tuple[str, ...]) -> None:
    for value in values:
        answer = run_here("run", option, value, "--json", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
        assert answer.code == 2, (value, answer.err)
        assert option in answer.err, (value, answer.err)


def test_a_range_is_told_in_the_words_of_the_option() -> None:
    answer = run_here("run", "--max-write-pause", "501h", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert "--max-write-pause: Value error, it has to be between 1ms and 500h" in answer.err


@pytest.mark.parametrize(
    "content",
    [
        b"source_id,business_id\na\0b,00000000-0000-0000-0000-000000000001\n",
        b"source_id,business_id\n\xff,00000000-0000-0000-0000-000000000001\n",
        "source_id,business_id\na,x\n".encode("utf-16"),
        b"source_id;business_id\n",
        b"",
        b"source_id,business_id\n" + b"x" * 200_000 + b",00000000-0000-0000-0000-000000000001\n",
        b'source_id,business_id\n"a,00000000-0000-0000-0000-000000000001\n',
        None,
    ],
)
def test_a_file_of_owners_that_cannot_be_used_is_a_usage_error(
    small: Application, content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "owners.csv"
    file.mkdir() if content is None else file.write_bytes(content)
    for name in ("plan", "run"):
        answer = verb(small, tmp_path, name, "--owners", str(file))
        assert answer.code == 2, answer.err
        assert "owners" in answer.err


def test_a_file_of_owners_with_a_mark_and_lines_that_say_it_twice_is_read(small: Application, tmp_path: Path) -> None:
    file = tmp_path / "owners.csv"
    line = "a,00000000-0000-0000-0000-000000000001\r\n"
    file.write_text(f"\ufeffsource_id,business_id\r\n{line}{line}", encoding="utf-8")
    assert verb(small, tmp_path, "plan", "--owners", str(file)).code == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_whatever_stdout_can_write_every_verb_answers(small: Application, encoding: str, tmp_path: Path) -> None:
    small.template("Schlüssel 鍵", template_name="名前 é")
    small.execute("UPDATE businesses SET business_name = 'Größe 大'")
    small.stage(2, "00000000-0000-0000-0000-000000000001", "nirgendwo 無")
    variables = environment(
        DATABASE_URL=small.url, PYTHONIOENCODING=encoding, LC_ALL="C", PIPELINES_REPORT_DIR=str(tmp_path)
    )
    for arguments, code in (
        (("--help",), 0),
        (("plan",), 4),
        (("run", "--json", "--grace", "0s"), 4),
        (("status",), 0),
    ):
        command = [sys.executable, "-m", "pipelines.templates", *arguments]
        done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == code, (arguments, done.stderr.decode(encoding))
        assert b"Traceback" not in done.stderr
        if "--json" in arguments:
            assert json.loads(done.stdout.decode(encoding))["move"] == "templates"


def test_an_archive_that_does_not_fit_on_the_disk_is_told_and_the_table_is_kept(
    small: Application, tmp_path: Path
) -> None:
    small.execute(
        "UPDATE prompt_templates SET template_text = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 9999) n)"
    )
    assert verb(small, tmp_path, "run").code == 0
    command = [
        sys.executable,
        "-m",
        "pipelines.templates",
        "purge",
        "--yes",
        "--json",
        "--archive",
        str(tmp_path / "a"),
    ]
    done = subprocess.run(
        command, env=environment(DATABASE_URL=small.url, PIPELINES_REPORT_DIR=str(tmp_path)), cwd=ROOT,
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "could not be written" in done.stderr
    assert small.exists("pipelines_retired_1.prompt_templates")
    assert list((tmp_path / "a").iterdir()) == []
    assert verb(small, tmp_path, "purge", "--yes", "--archive", str(tmp_path / "a")).code == 0


STEPS = {
    "copy": (
        "ALTER TABLE prompt_templates DROP COLUMN description",
        "ALTER TABLE prompt_templates ADD COLUMN description text",
    ),
    "verify": (
        "ALTER TABLE templates RENAME COLUMN content TO body",
        "ALTER TABLE templates RENAME COLUMN body TO content",
    ),
    "cutover": (
        "ALTER TABLE stages RENAME COLUMN business_id TO tenant",
        "ALTER TABLE stages RENAME COLUMN tenant TO business_id",
    ),
}


@pytest.mark.parametrize("phase", STEPS)
def test_columns_that_go_or_change_in_the_middle(
    small: Application, phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, back = STEPS[phase]
    enter = Console.phase

    def change_first(console: Console, name: str, detail: str = "") -> None:
        if name == phase:
            small.execute(there)
        enter(console, name, detail)

    monkeypatch.setattr(Console, "phase", change_first)
    answer = verb(small, tmp_path, "run")
    assert answer.code in (3, 4), answer.err
    assert small.value("SELECT stage_selection_template_id FROM stages") == "a"
    small.execute("INSERT INTO prompt_templates (template_id, template_text) VALUES ('it', 'takes writes')")
    monkeypatch.undo()
    small.execute(back)
    assert verb(small, tmp_path, "run").code == 0
