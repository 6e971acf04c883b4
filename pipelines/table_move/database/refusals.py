"""What the database says when it does not do what it was asked, as our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2

from pipelines.table_move.database.server_error import ServerError, is_raised, reported
from pipelines.table_move.errors import Blocked, ConnectionLost, MoveError, NotInTime

_LOST = (psycopg2.OperationalError, psycopg2.InterfaceError)


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
        told = _told(found) if found is not None else _told_of_files(problem) if isinstance(problem, OSError) else None
        if told is None:
            raise
        raise told from problem


def _told(problem: psycopg2.Error) -> MoveError | None:
    """None where it is a mistake of ours: no server has answered, or it does not understand what we said."""
    again = "Run the same command again: it goes on where it stopped."
    said = ServerError.of(problem)
    state = said.sqlstate
    kept = "What was committed stays; the open transaction was rolled back."
    if _is_lost(problem, state):
        unanswered = "What was committed stays, what was not is undone: the journal knows which."
        return ConnectionLost(f"The connection was lost: {said}.", untouched=unanswered, next_step=again)
    if is_raised(problem):
        return Blocked(f"The database refused: {said}.", untouched=kept, next_step=_LOOK)
    if state in ("55P03", "57014", "25P03", "25P04"):
        return NotInTime(f"A lock or a timeout ended a statement: {said}.", untouched=kept, next_step=again)
    if state.startswith(("40", "53")):
        return ConnectionLost(f"The database could not go on: {said}.", untouched=kept, next_step=again)
    if not state or (state == "42601" and not problem.diag.context):  # a function of theirs may have it, no one else
        return None
    return Blocked(f"The database refused: {said}.", untouched=kept, next_step=_ADVICE.get(state, _LOOK))


def _is_lost(problem: psycopg2.Error, state: str) -> bool:
    """Whether the session is gone. A trigger may raise any SQLSTATE; the server says FATAL only where it leaves."""
    if state:
        return state.startswith(("08", "57P")) and problem.diag.severity_nonlocalized != "ERROR"
    # It is libpq that speaks, in the middle of a COPY as a plain DatabaseError.
    return isinstance(problem, _LOST) or type(problem) is psycopg2.DatabaseError


def _told_of_files(problem: OSError) -> MoveError:
    """A disk that is full, a folder that may not be written: of this machine, not of the server."""
    where = "" if problem.filename is None else f" ({problem.filename})"
    return Blocked(
        f"This machine refused: {problem.strerror or type(problem).__name__}{where}.",
        untouched="What was committed stays; the open transaction was rolled back.",
        next_step="Put that right, then run the same command again.",
    )


_GRANT = "Grant what is missing (sql/roles.sql lists the rights per verb), then run the same command again."
_WRITABLE = (
    "Give the URL of a server that takes writes: the primary, or one where default_transaction_read_only is off."
)
_LOOK = (
    "Look at the triggers, constraints and types of the tables that this concerns: the server's log has its message. "
    "Put right what refuses, then run the same command again."
)
_ADVICE = {"42501": _GRANT, "28000": _GRANT, "28P01": _GRANT, "3D000": _GRANT, "25006": _WRITABLE}
