"""What the database says when it does not do what it was asked, as our errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2

from pipelines.table_move.database.server_error import ServerError, reported
from pipelines.table_move.errors import Blocked, ConnectionLost, MoveError, NotInTime

_LOST = (psycopg2.OperationalError, psycopg2.InterfaceError)

# What a server says that will take connections again.
_PASSING = (
    "starting up", "shutting down", "recovery mode", "not accepting", "not yet accepting", "too many",
    "no more connections", "remaining connection", "administrator command", "due to timeout",
)  # fmt: skip


# Why no connection was to be had. The texts themselves name users, files and parts of a URL that was read otherwise
# than it was meant; whatever is not in the list stands in the server's log.
_REASONS = (
    ("password authentication failed", "the password is wrong or the role is not known"),
    ("no password supplied", "a password is needed, and none was given"),
    ("authentication", "the server does not accept this authentication"),
    ("pg_hba.conf", "the server's pg_hba.conf does not admit this connection"),
    ("permission denied for database", "the role lacks CONNECT on the database"),
    ("database", "there is no such database, or it takes no connections"),
    ("role", "there is no such role, or it may not log in"),
    ("certificate", "a TLS certificate was not accepted"),
    ("SSL", "the two sides do not agree on TLS"),
    ("translate host name", "the host name is not known"),
    ("timeout expired", "nobody answered in time"),
    ("Connection refused", "nothing listens on this port"),
    ("No such file or directory", "no server is at this socket"),
    ("too many", "there are too many connections already"),
    ("no more connections", "there are too many connections already"),
    ("remaining connection", "there are too many connections already"),
    ("starting up", "the server is starting"),
    ("shutting down", "the server is stopping"),
    ("session is", "no host has the session that target_session_attrs asks for"),
    ("server closed the connection", "the connection was cut"),
)


def refused(problem: psycopg2.OperationalError, *, label: str) -> MoveError:
    """A connection that was not to be had, as our error. label: the database, for people."""
    # libpq gives no SQLSTATE for a refused connection; FATAL is what a server says, the rest is libpq's own.
    text = re.sub('"[^"]*"', "", str(problem))  # a host may be called database
    kind = Blocked if "FATAL" in text and not any(said in text for said in _PASSING) else ConnectionLost
    reason = next((reason for said, reason in _REASONS if said in text), "the server's log has the reason")
    return kind(
        f"No connection to {label}: {reason}.",
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
        found = reported(problem)
        told = None if found is None else _told(found)
        if told is None:
            raise
        raise told from problem


def _told(problem: psycopg2.Error) -> MoveError | None:
    again = "Run the same command again: it goes on where it stopped."
    said = ServerError.of(problem)
    state = said.sqlstate
    kept = "What was committed stays; the open transaction was rolled back."
    # Without a SQLSTATE it is libpq that speaks, in the middle of a COPY as a plain DatabaseError.
    lost = isinstance(problem, _LOST) or type(problem) is psycopg2.DatabaseError
    if state.startswith(("08", "57P")) or (not state and lost):
        unanswered = "What was committed stays, what was not is undone: the journal knows which."
        return ConnectionLost(f"The connection was lost: {said}.", untouched=unanswered, next_step=again)
    if state in ("55P03", "57014", "25P03", "25P04"):
        return NotInTime(f"A lock or a timeout ended a statement: {said}.", untouched=kept, next_step=again)
    if state.startswith(("40", "53")):
        return ConnectionLost(f"The database could not go on: {said}.", untouched=kept, next_step=again)
    if state in ("42501", "25006", "28000", "28P01", "3D000"):
        grant = "Grant what is missing (sql/roles.sql lists the rights per verb), then run again."
        return Blocked(f"The database refused: {said}.", untouched=kept, next_step=grant)
    return None
