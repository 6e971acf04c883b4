"""The next command: complete, quoted, without secrets, and made of options that the verbs really have."""

from __future__ import annotations

import shlex

import pytest
from typer.main import get_command

from pipelines.default_templates.move import DEFAULT_TEMPLATES
from pipelines.table_move.next_calls import next_calls
from pipelines.table_move.pure.command_line import VERBS
from pipelines.table_move.settings import Settings
from pipelines.templates.__main__ import app
from pipelines.templates.move import TEMPLATES

SECRET = "s3cr3t-canary"

# What a call says anew each time: where to stop, what to accept, how to answer, what to look at.
SAID_ANEW = {
    "--until", "--accept-loss", "--dry-run", "--yes", "--json", "--log-format", "--verbose", "-v", "--suite", "--list",
    "--show-content", "--run", "--open", "--help",
}  # fmt: skip


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "PIPELINES_WORKERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_taken_over_or_said_anew(verb: str) -> None:
    options = {name for parameter in get_command(app).commands[verb].params for name in parameter.opts}
    anew = SAID_ANEW | ({"--archive"} if verb == "rollback" else set())
    assert options - anew == set(VERBS[verb])


def test_the_options_of_the_call_are_those_of_the_next_one() -> None:
    said = {
        "database_url": f"postgresql://me:{SECRET}@db.example:6432/app?sslmode=require&sslpassword={SECRET}",
        "schema": "App '1", "default_business": "Bäckerei & Sohn", "owners": "my owners.csv",
        "on_conflict": "keep-target", "allow_dangling": True, "archive": "/var/arch ive", "drop": False,
        "until": "copy", "grace": "1500ms", "max_write_pause": "5min", "batch_bytes": "8MB", "workers": 4,
        "lock_timeout": "250ms", "lock_wait": "1h", "report_dir": "re ports", "yes": True,
    }  # fmt: skip
    calls = next_calls(Settings.read(**said), TEMPLATES)
    line = calls.line("run")
    assert SECRET not in line
    python, flag, module, verb, *words = shlex.split(line)
    assert (python, flag, module, verb) == ("python", "-m", "pipelines.templates", "run")
    command = get_command(app).commands["run"]
    context = command.make_context("run", words)
    again = Settings.read(**{**context.params, "demo": None, "schema": context.params["schema"]})
    left_out = {"until", "yes", "database_url", "demo"}
    first = Settings.read(**said)
    for name in Settings.model_fields.keys() - left_out:
        assert getattr(again, name) == getattr(first, name), name
    assert context.params["database_url"] == "postgresql://me:…@db.example:6432/app?sslmode=require&sslpassword=…"
    assert calls.to("go back", "rollback", "--archive", "x y").startswith(
        "To go back: python -m pipelines.templates rollback --archive 'x y' --database-url"
    )
    assert "--owners" not in calls.line("rollback")


def test_what_the_environment_said_is_said_too_and_the_url_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:{SECRET}@db.example/app")
    monkeypatch.setenv("PIPELINES_WORKERS", "3")
    calls = next_calls(Settings.read(), DEFAULT_TEMPLATES)
    assert calls.to("go on", "run") == (
        "To go on, with DATABASE_URL set as for this call: python -m pipelines.default_templates run --workers 3"
    )
