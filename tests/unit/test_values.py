"""Settings, URLs, declarations, suites, transitions: values that check themselves."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest

from pipelines.table_move.database.address import BOUNDS, parse_url
from pipelines.table_move.database.connect import Database
from pipelines.table_move.errors import UsageProblem
from pipelines.table_move.pure.shown import shown
from pipelines.table_move.quality.suites import read_suites
from pipelines.table_move.settings import Settings, duration, size
from pipelines.table_move.status import TRANSITIONS, Counts, Milestone
from pipelines.templates.move import TEMPLATES


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("2s", 2), ("5min", 300), ("1h", 3600), (" 1.5 s ", 1.5), ("0s", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["5", "-1s", "1 day", "", "s", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="500ms"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "found"), [("8MB", 8 * 1024**2), ("512kB", 524288), ("1000", 1000), ("1 GB", 1024**3)]
)
def test_sizes(text: str, found: int) -> None:
    assert size(text) == found


def test_the_command_line_goes_over_the_environment_and_that_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_LOCK_WAIT", "7s")
    monkeypatch.setenv("PIPELINES_WORKERS", "3")
    monkeypatch.setenv("PIPELINES_SCHEMA", "app")
    monkeypatch.setenv("DATABASE_URL", "postgresql://env/d")
    settings = Settings.read(workers=5, database_url=None)
    assert (settings.lock_wait, settings.workers, settings.grace) == (7, 5, 1)
    assert settings.application_schema == "app"
    assert settings.database_url.get_secret_value() == "postgresql://env/d"
    assert Settings.read(database_url="postgresql://cli/d").database_url.get_secret_value() == "postgresql://cli/d"


def test_a_password_is_in_no_repr_and_no_shown_setting() -> None:
    settings = Settings.read(database_url="postgresql://u:canary@h/d?sslpassword=canary")
    database = Database(parameters=parse_url(settings.database_url.get_secret_value()))
    for text in (repr(settings), str(settings.shown()), repr(database), database.label):
        assert "canary" not in text


def test_sqlalchemy_spellings_of_a_url_are_understood() -> None:
    for scheme in ("postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg"):
        expected = {**BOUNDS, "user": "u", "host": "h", "port": "5433", "dbname": "d"}
        assert parse_url(f"{scheme}://u@h:5433/d") == expected
        assert parse_url(f"{scheme}://u@h:5433/d?connect_timeout=3") == {**expected, "connect_timeout": "3"}
    with pytest.raises(UsageProblem):
        parse_url("sqlite://")


def test_a_declaration_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        dataclasses.replace(TEMPLATES, target=dataclasses.replace(TEMPLATES.target, columns=("content", "content")))
    with pytest.raises(ValueError, match="lower case"):
        dataclasses.replace(TEMPLATES, name="Robert'); DROP TABLE")
    with pytest.raises(ValueError, match="written package"):
        dataclasses.replace(TEMPLATES, transform="os.system")


def test_every_milestone_is_reached_from_the_one_before_and_each_way_has_its_sentence() -> None:
    forward = list(Milestone)[: list(Milestone).index(Milestone.PURGED) + 1]
    assert {(None, Milestone.COPYING), *pairwise(forward)} <= TRANSITIONS.keys()
    assert {start for start, _ in TRANSITIONS} - {None} == set(Milestone), "a milestone that leads nowhere"
    assert all(sentence.endswith(".") for sentence in TRANSITIONS.values())


def test_the_balance_is_what_the_contract_says() -> None:
    assert Counts(source_rows=3, fan_out_copies=1, inserted=2, conflicts=1, rejected=1).balanced
    assert not Counts(source_rows=3, inserted=2).balanced


def test_the_suites_load_and_every_check_says_why() -> None:
    suites = read_suites(TEMPLATES.suites)
    assert [suite.subject for suite in suites] == ["source", "target", "references", "reconciliation"]
    for check in (check for suite in suites for check in suite.checks):
        assert check.reason.endswith(".")
        assert len(check.reason) > 30


def test_control_characters_in_data_are_shown_and_not_obeyed() -> None:
    assert shown("a\x1b[2Jb\u202e\x07c\nd") == "a\\x1b[2Jb\\u202e\\x07c\\nd"
