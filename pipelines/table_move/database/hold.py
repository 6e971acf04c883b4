"""How long a transaction of ours may hold rows that others want.

The server looks for a circle of waiting sessions when one of them has waited for `deadlock_timeout`, and ends the one
that looks. Nobody can have waited for us for longer than we hold anything: what is given back, whole, before that time
is over makes no session of the application's the victim of a circle that we are part of.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from psycopg2 import errors, extensions, sql

ASLEEP = 5.0  # seconds that the server lets a transaction of ours keep rows while its client says nothing


class TookTooLong(Exception):
    """What was to be written at once takes longer than others may be kept waiting for it: less at a time may work."""


class Hold:
    """The statements of a transaction that may lock or wait for rows of the application's, all of them ended by the
    server `seconds` after the first began; None: each may take its time."""

    def __init__(self, cursor: extensions.cursor, seconds: float | None) -> None:
        self.cursor = cursor
        self._seconds = seconds
        self._ends: float | None = None

    def execute(self, statement: sql.Composable, values: Mapping[str, Any] | None = None) -> None:
        """Raises TookTooLong where the time is over."""
        if self._seconds is None:
            self.cursor.execute(statement, values)
            return
        self._ends = self._ends or time.monotonic() + self._seconds
        left = max(self._ends - time.monotonic(), 0.001)
        self._bound(left)
        try:
            self.cursor.execute(statement, values)
        except errors.QueryCanceled as problem:
            if time.monotonic() >= self._ends:
                raise TookTooLong from problem
            raise  # somebody else has cancelled it
        self._bound(0)

    def _bound(self, seconds: float) -> None:
        with self.cursor.connection.cursor() as beside:  # what the statement returned is still to be read
            beside.execute(_BOUND, (f"{seconds * 1000:.0f}",))


_BOUND = "SELECT pg_catalog.set_config('statement_timeout', %s, true)"


def no_sleep(cursor: extensions.cursor) -> None:
    """From here to its end the server ends this transaction where its client falls asleep, if it does not already."""
    cursor.execute(_NO_SLEEP, (f"{ASLEEP * 1000:.0f}",))


_NO_SLEEP = (
    "SELECT set_config('idle_in_transaction_session_timeout', %s, true)"
    " WHERE current_setting('idle_in_transaction_session_timeout') = '15s'"  # what every session has; see `connect`
)
