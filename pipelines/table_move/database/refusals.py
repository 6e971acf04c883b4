"""What the database says when it does not do what it was asked, as our errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psycopg2

from pipelines.table_move.errors import Blocked, ConnectionLost, MoveError, NotInTime

_LOST = (psycopg2.OperationalError, psycopg2.InterfaceError)

# What a server says that will take connections again.
_PASSING = (
    "starting up", "shutting down", "recovery mode", "not accepting", "not yet accepting", "too many",
    "remaining connection", "administrator command", "due to timeout",
)  # fmt: skip


def refused(problem: psycopg2.OperationalError, *, label: str, secrets: Iterable[str | None]) -> MoveError:
    """A connection that was not to be had, as our error.

    label: the database, for people. secrets: what may not be repeated.
    """
    # libpq gives no SQLSTATE for a refused connection; FATAL is what a server says, the rest is libpq's own.
    text = str(problem).strip()
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    kind = Blocked if "FATAL" in text and not any(said in text for said in _PASSING) else ConnectionLost
    return kind(
        f"No connection to {label}: {text}",
        untouched="Nothing was written.",
        next_step="Check host, port, database, user and password, then run the same command again.",
    )


@contextmanager
def told_by_sqlstate() -> Iterator[None]:
    """Turn what the database reports into our errors, by SQLSTATE and never by message text; also what another library
    has wrapped."""
    try:
        yield
    except MoveError:
        raise
    except Exception as problem:
        reported = _reported(problem)
        told = None if reported is None else _told(reported)
        if told is None:
            raise
        raise told from problem


def _reported(problem: BaseException | None) -> psycopg2.Error | None:
    while problem is not None and not isinstance(problem, psycopg2.Error):
        problem = problem.__cause__
    return problem


def _told(problem: psycopg2.Error) -> MoveError | None:
    again = "Run the same command again: it goes on where it stopped."
    state = problem.pgcode or ""
    said = problem.diag.message_primary or str(problem).strip().partition("\n")[0]
    kept = "What was committed stays; the open transaction was rolled back."
    # Without a SQLSTATE it is libpq that speaks, in the middle of a COPY as a plain DatabaseError.
    lost = isinstance(problem, _LOST) or type(problem) is psycopg2.DatabaseError
    if state.startswith(("08", "57P")) or (not state and lost):
        unanswered = "What was committed stays, what was not is undone: the journal knows which."
        return ConnectionLost(f"The connection was lost: {said}", untouched=unanswered, next_step=again)
    if state in ("55P03", "57014", "25P03", "25P04"):
        return NotInTime(f"A lock or a timeout ended a statement: {said}", untouched=kept, next_step=again)
    if state.startswith(("40", "53")):
        return ConnectionLost(f"The database could not go on: {said}", untouched=kept, next_step=again)
    if state in ("42501", "25006", "28000", "28P01", "3D000"):
        grant = "Grant what is missing (sql/roles.sql lists the rights per verb), then run again."
        return Blocked(f"The database refused: {said}", untouched=kept, next_step=grant)
    return None
