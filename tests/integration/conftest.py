"""An attempt under way, for tests of a single step."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipelines.table_move.database.adopt import adopt
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.claims import build_claims
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.copy import copy as copy_rows
from pipelines.table_move.phases import Phases
from pipelines.table_move.preflight import make_plan
from pipelines.table_move.quality.suites import read_suites
from pipelines.table_move.runner import open_attempt
from pipelines.table_move.settings import Settings
from pipelines.templates.move import TEMPLATES


def copy(attempt: Attempt) -> int:
    """The phase of that name, without the journal's line about it."""
    build_claims(attempt)
    adopt(attempt)
    return copy_rows(attempt)


class Silent:
    """A watch that sees nothing."""

    def phase(self, name: str, detail: str = "") -> None: ...
    def progress(self, rows: int, total: int) -> None: ...
    def say(self, event: str, **facts: object) -> None: ...
    def warn(self, text: str) -> None: ...


@pytest.fixture
def begin(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path) -> Callable[..., Phases]:
    """Begin an attempt with these settings."""
    monkeypatch.delenv("DATABASE_URL", raising=False)

    def start(*, default_business: str | None = None, **options: object) -> Phases:
        settings = Settings.read(report_dir=str(tmp_path), grace="0s", **options)
        plan = make_plan(database, TEMPLATES, settings, default_business=default_business)
        plan.require_way()
        return open_attempt(database, TEMPLATES, settings, Silent(), plan, read_suites(TEMPLATES.suites))

    return start
