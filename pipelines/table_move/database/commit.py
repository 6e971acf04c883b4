"""A COMMIT whose answer is lost: asked for until it is known, because what comes next depends on it."""

from __future__ import annotations

import time

from psycopg2 import InterfaceError, OperationalError

from pipelines.table_move.database.connect import Database, Session
from pipelines.table_move.errors import ConnectionLost, MoveError

ASKED_FOR = 30.0  # seconds: longer than a server needs that was told to stop and starts again


def commit(database: Database, session: Session, *, asked_for: float = ASKED_FOR) -> None:
    """Commit; where no answer comes, ask from other sessions until the transaction is no longer in progress.

    Returns where it was committed. Raises what ended it where it was not, ConnectionLost where nobody can say. The
    numbers of transactions that left no trace before a crash are given again, so what depends on this one still has to
    look at the milestone (`journal.reach` does).
    """
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id_if_assigned()::text")
        number = cursor.fetchone()[0]
    try:
        session.commit()
    except (OperationalError, InterfaceError) as problem:
        if number is None or not _was_committed(database, number, time.monotonic() + asked_for):
            raise problem


def _was_committed(database: Database, number: str, ends: float) -> bool:
    while True:
        try:
            with database.reading() as cursor:
                cursor.execute("SELECT pg_xact_status(%s::xid8)", (number,))
                found = cursor.fetchone()[0]
            if found != "in progress":
                return found == "committed"
        except (MoveError, OperationalError, InterfaceError):
            pass  # the server is away; it may come back
        if time.monotonic() > ends:
            raise ConnectionLost(
                "The connection was lost at a COMMIT, and the server does not say whether it arrived.",
                untouched="What was committed stays, what was not is undone: the journal knows which.",
                next_step="`status` shows where the move stands. Run the same command again: it goes on from there.",
            )
        time.sleep(0.2)
