"""Data cannot steer what people look at: no line, colour, direction or JSON of its own; and no password is repeated."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipelines.table_move.pure.shown import shown
from tests.application import Application
from tests.command import Answer, call

HOSTILE = "\nDone.\r\x1b[2J\x9b2J\u202eevil\u2066\u200b\u2028Done.\u2029[red]red[/] :warning: <b>"
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
PASSWORD = "CANARY"


def raw(text: str) -> list[str]:
    """What would reach a terminal as it is."""
    return RAW.findall(text)


def lines_of_json(answer: Answer) -> list[dict[str, object]]:
    return [json.loads(line) for line in answer.err.splitlines()]


def test_whatever_is_no_plain_character_is_an_escape() -> None:
    assert shown("a\nb\x1b[0m\x9b\u202e\u2028\u200b\ud800") == r"a\nb\x1b[0m\x9b\u202e\u2028\u200b\ud800"
    assert shown("Grüße, 你好 – [red]") == "Grüße, 你好 – [red]"


@pytest.fixture
def hostile(application: Application) -> Application:
    """A conflict, a reference to nothing, and owners, all with names that want to be more than names."""
    business, other = application.business(1), application.business(2)
    application.execute("UPDATE businesses SET business_name = business_name || %s", (HOSTILE,))
    application.template(f"key{HOSTILE}", description="d")
    taken = application.template("00000000-0000-4000-8000-0000000000aa", template_name=f"name{HOSTILE}")
    application.execute("INSERT INTO templates VALUES (%s, %s, 'name', 't', 'another')", (taken, business))
    application.stage(1, other, f"key{HOSTILE}", f"nowhere{HOSTILE}", taken)
    return application


def test_a_name_is_no_line_no_command_and_no_markup(hostile: Application, tmp_path: Path) -> None:
    options = ("--report-dir", str(tmp_path), "--default-business", f"Business 1{HOSTILE}")
    for verb, more in (("plan", ()), ("run", ("-v",)), ("verify", ()), ("report", ("--list",)), ("report", ())):
        given = options[2:] if verb == "plan" else options[:2] if verb in ("verify", "report") else options
        answer = call(verb, *given, *more, DATABASE_URL=hostile.url)
        assert answer.code in (0, 3, 4), answer
        assert not raw(answer.out + answer.err), verb
        assert "Done." not in (answer.out + answer.err).splitlines()
    assert r"nowhere\nDone.\r\x1b[2J" in answer.out + _text(tmp_path)
    said = call("verify", "--report-dir", str(tmp_path), DATABASE_URL=hostile.url)
    assert r"[red]red[/] :warning: <b>" in said.out
    for file in (file for file in tmp_path.rglob("*") if file.is_file()):
        text = file.read_text(encoding="utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
        assert not raw(text), file.name
        assert "Done." not in text.splitlines()


def _text(folder: Path) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in folder.rglob("*") if file.is_file())


def test_with_json_logs_stderr_has_json_alone_and_stdout_one_object(hostile: Application, tmp_path: Path) -> None:
    url, reports = hostile.url, ("--report-dir", str(tmp_path))
    both = ("--json", "--log-format", "json")
    calls = [
        (("plan", "--default-business", f"x{HOSTILE}", *both), url),
        (("run", *reports, "--default-business", f"Business 1{HOSTILE}", *both), url),
        (("verify", *reports, *both), url),
        (("status", *both), url),
        (("report", "--list", *both), url),
        (("rollback", "--dry-run", *both), url),
        (("purge", "--yes", *both), url),
        (("run", "--grace", "soon", *both), url),
        (("run", "--no-such-option", *both), url),
        (("nonsense", *both), url),
        (("run", "too-many", *both), url),
        (("report", "--run", "first", *both), url),
        (("status", *both), "postgresql://u:p@127.0.0.1:1/d"),
        (("status", *both), "postgresql://u:p@[/d"),
    ]
    for arguments, where in calls:
        answer = call(*arguments, DATABASE_URL=where)
        assert lines_of_json(answer) or answer.code == 0, arguments
        assert isinstance(json.loads(answer.out), dict), arguments
        assert answer.out.count("\n") == 1
        assert answer.out.isascii()
        assert answer.err.isascii()
    answer = call("status", DATABASE_URL="postgresql://u:p@127.0.0.1:1/d", PIPELINES_LOG_FORMAT="json")
    assert lines_of_json(answer)[-1]["exit_code"] == 7
    answer = call("up", "--to", "99", *both, module="pipelines.migrations", DATABASE_URL=url)
    assert (answer.code, lines_of_json(answer)[-1]["event"]) == (2, "problem")


@pytest.mark.parametrize("odd", ["", "/", "#", "?", "@", "%", ":", " ", "\\", "[", "&", "%zz", "\n", "'", "\x1b"])
def test_no_part_of_a_password_is_repeated_wherever_it_stood(odd: str) -> None:
    password = f"{PASSWORD}one{odd}{PASSWORD}two"
    url = f"postgresql://u:{password}@127.0.0.1:1/d"
    calls = [
        (("status", "-v"), {"DATABASE_URL": url}),
        (("status", "--database-url", url, "--json"), {}),
        (("status",), {"DATABASE_URL": f"postgresql://u@127.0.0.1:1/d?password={password}"}),
        (("status",), {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d", "PGPASSWORD": password}),
        (("status", url), {}),
        ((url,), {}),
        (("status", f"--url:{url}"), {}),
        (("status", f"--databaseurl={url}"), {}),
        (("status",), {"DATABASE_URL": url.replace("postgresql", "mysql")}),
    ]
    for arguments, environment in calls:
        answer = call(*arguments, **environment)
        assert answer.code in (2, 3, 7), (arguments, answer)
        assert PASSWORD not in answer.out + answer.err, arguments


def test_nor_does_the_database_learn_it(application: Application, tmp_path: Path) -> None:
    application.business(1)
    application.template("a")
    url = f"{application.url}&password={PASSWORD}" if "?" in application.url else application.url
    answer = call("run", "--json", "-v", "--grace", "0s", "--report-dir", str(tmp_path), DATABASE_URL=url)
    assert answer.code == 0, answer.err
    assert PASSWORD not in answer.out + answer.err + _text(tmp_path)
    assert not application.value("SELECT count(*) FROM pipelines.run r WHERE r::text LIKE '%CANARY%'")
