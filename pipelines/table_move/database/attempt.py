"""What every phase of a run needs to know. Made once, after the preflight; frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pkgutil import resolve_name
from typing import Protocol

from psycopg2 import extensions

from pipelines.table_move.database import journal
from pipelines.table_move.database.catalog import Located, locate
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.hold import no_sleep
from pipelines.table_move.database.lock import require_held
from pipelines.table_move.database.names import Names
from pipelines.table_move.settings import Settings

SHORTEST_HOLD = 0.1  # seconds: where the server looks for deadlocks earlier than that, batches have to end all the same


class Watch(Protocol):
    """Who looks on while a run goes: a terminal, a log, a test."""

    def phase(self, name: str, detail: str = "") -> None: ...
    def progress(self, rows: int, total: int) -> None: ...
    def say(self, event: str, **facts: object) -> None: ...
    def warn(self, text: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One run of one move in one database.

    owners_are_named: a person has named owners of single rows, in this call or an earlier one.
    lock_backend: the backend that holds the lock of the move; None where nobody does, for single steps.
    """

    run_id: int
    database: Database
    located: Located
    settings: Settings
    default_owner: str | None
    owners_are_named: bool
    watch: Watch
    lock_backend: int | None = None

    @property
    def names(self) -> Names:
        return self.located.names

    @property
    def transform(self) -> Callable:
        return resolve_name(self.names.move.transform)

    @property
    def lock_timeout(self) -> float:
        """Seconds to wait for a lock: below half of the server's deadlock_timeout, so that we always give up first."""
        return min(self.settings.lock_timeout, self.located.facts.server.deadlock_timeout / 2)

    @property
    def held_for(self) -> float:
        """Seconds that a batch may keep what others may wait for: below the server's deadlock_timeout, see `hold`."""
        return max(self.located.facts.server.deadlock_timeout * 0.75, SHORTEST_HOLD)

    @property
    def keep_target(self) -> bool:
        """Whether rows that stand in the target under the id of another one stay as they are."""
        return self.settings.on_conflict == "keep-target"

    def relocated(self) -> Attempt:
        """The same attempt, after the old table has gone somewhere else, or has come from somewhere."""
        names = self.names
        with self.database.reading() as cursor:
            located = locate(cursor, names.move, names.schema, journal.load(cursor, names.key))
        return replace(self, located=located)

    def hold_fence(self, cursor: extensions.cursor) -> None:
        """In every writing transaction, before it writes; from here the server ends it where this process sleeps.

        Raises Fenced, or ConnectionLost where the lock is gone.
        """
        no_sleep(cursor)
        journal.hold_fence(cursor, self.names.key, self.run_id)
        if self.lock_backend is not None:
            require_held(cursor, self.names.key, self.lock_backend)
