"""One run at a time: an advisory lock that lives as long as its session, polled because a waiting one can deadlock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256

from psycopg2 import extensions

from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.queries import query
from pipelines.table_move.errors import AnotherRunActive, ConnectionLost

POLLED_FOR = 10.0  # seconds until another run is believed; a killed client's backend goes within two


def lock_key(move_key: str) -> dict[str, int]:
    """The two 31-bit keys of the advisory lock of a move."""
    digest = sha256(f"table_move/{move_key}".encode()).digest()
    half = 0x7FFFFFFF
    return {
        "class": int.from_bytes(sha256(b"table_move").digest()[:4], "big") & half,
        "object": int.from_bytes(digest[:4], "big") & half,
    }


@contextmanager
def exclusive(database: Database, move_key: str, *, polled_for: float = POLLED_FOR) -> Iterator[int]:
    """Hold the lock of a move. Gives the backend that holds it; `require_held` asks whether it still does.

    Raises AnotherRunActive, naming the holder, after `polled_for` seconds.
    """
    with database.session() as session:
        session.set_session(autocommit=True)
        with session.cursor() as cursor:
            deadline = time.monotonic() + polled_for
            while not _try(cursor, move_key):
                if time.monotonic() > deadline:
                    raise _active(holder(cursor, move_key))
                time.sleep(0.2)
        yield session.backend.pid


def require_held(cursor: extensions.cursor, move_key: str, backend: int) -> None:
    """Raises ConnectionLost where this backend does not hold the lock of the move any more.

    Asked behind the fence: whoever has the lock now can take over only after the transaction that asks.
    """
    found = holder(cursor, move_key)
    if found is None or found["pid"] != backend:
        raise ConnectionLost(
            "The session that held the lock of this move was lost.",
            untouched="What was committed stays; the open transaction was rolled back.",
            next_step="Run the same command again: it goes on where it stopped.",
        )


def holder(cursor: extensions.cursor, move_key: str) -> dict[str, object] | None:
    """Who holds the lock: pid, application, address, since; None where it is free. The last two are None where our role
    may not look into the session."""
    cursor.execute(query("journal.lock_holder"), lock_key(move_key))
    row = cursor.fetchone()
    if row is None:
        return None
    pid, application, address, since = row
    seen = {"address": address, "since": since.isoformat()} if since else {"address": None, "since": None}
    return {"pid": pid, "application": application, **seen}


def described(found: Mapping[str, object]) -> str:
    """A holder, for people."""
    who = f"pid {found['pid']}, application {found['application']!r}"
    if found["since"] is None:
        return f"{who} (a session of another role, which ours may not look into)"
    return f"{who}, from {found['address']}, since {found['since']}"


def _try(cursor: extensions.cursor, move_key: str) -> bool:
    cursor.execute("SELECT pg_try_advisory_lock(%(class)s, %(object)s)", lock_key(move_key))
    return bool(cursor.fetchone()[0])


def _active(found: dict[str, object] | None) -> AnotherRunActive:
    who = described(found) if found else "it ended just now"
    return AnotherRunActive(
        f"Another run of this move is active: {who}.",
        untouched="This attempt wrote nothing.",
        next_step="Wait for it: `status` shows where it stands. Then run the same command again.",
    )
