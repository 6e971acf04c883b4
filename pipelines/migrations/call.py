"""One call of a verb: which database, which folder, and what the files are told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.table_move.errors import UsageProblem

if TYPE_CHECKING:
    from pipelines.table_move.console import Console
    from pipelines.table_move.database.connect import Database
    from pipelines.table_move.settings import Settings

_NEXT = "Give --database-url or DATABASE_URL, for example postgresql://USER@HOST:5432/DATABASE."


@dataclass(frozen=True, kw_only=True)
class Call:
    """Where a verb works, how, and what people see."""

    folder: Path
    database: Database
    settings: Settings
    console: Console

    @property
    def parameters(self) -> dict[str, str]:
        """What the files read with current_setting(), and how long they wait for a lock."""
        chosen = {
            "lock_timeout": f"{self.settings.lock_timeout * 1000:.0f}ms",
            "pipelines.schema": self.settings.application_schema,
            "pipelines.allow_dangling": "on" if self.settings.allow_dangling else "off",
            "pipelines.accept_loss": "on" if self.settings.accept_loss else "off",
        }
        if self.settings.default_business is not None:
            chosen["pipelines.default_business"] = self.settings.default_business
        return chosen


def prepare(settings: Settings, folder: Path | None, console: Console) -> Call:
    """Where the verb works. Raises UsageProblem without a URL."""
    from pipelines.migrations.files import FOLDER
    from pipelines.table_move.database.address import libpq_variables_set, parse_url
    from pipelines.table_move.database.connect import Database

    if settings.database_url is None:
        named = libpq_variables_set()
        raise UsageProblem(
            f"{', '.join(named)} is set, but no URL is given." if named else "No database URL is given.",
            untouched="Nothing was read or written.",
            next_step=_NEXT,
        )
    database = Database(
        parameters=parse_url(settings.database_url.get_secret_value()),
        schema=settings.application_schema,
        application_name="pipelines",
        lock_timeout=settings.lock_timeout,
        lock_wait=settings.lock_wait,
    )
    return Call(folder=folder or FOLDER, database=database, settings=settings, console=console)
