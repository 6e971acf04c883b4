"""A connection that was not to be had, as our error: by SQLSTATE, and by how far it got where no server gave one."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg2

from pipelines.table_move.database.asked_again import Again, ask_again
from pipelines.table_move.errors import Blocked, ConnectionLost, MoveError

_SECONDS = 3
_PASSING = ("08", "40", "53", "57")

_CHECK = "Check host, port, database, user and password, then run the same command again."
_ROOM = "Close sessions or raise the limit, then run the same command again."
_AGAIN = "Run the same command again."
_SETTINGS = (
    "Look at the settings of the role and the database (ALTER ROLE … SET, ALTER DATABASE … SET) and at the triggers at "
    "the login; put that right, then run the same command again."
)
_TRIGGER = (
    "It runs under our search_path, which is empty: let it name the schema of what it uses (ALTER FUNCTION … SET "
    "search_path), or switch it off, then run the same command again."
)

_BY_CODE = {
    "08P01": ("a pooler refused, and its log has the reason", _CHECK),
    "28P01": ("the password is wrong or the role is not known (28P01)", _CHECK),
    "28000": ("there is no such role, it may not log in, or pg_hba.conf does not admit it from here (28000)", _CHECK),
    "3D000": ("there is no such database (3D000)", _CHECK),
    "42501": (
        "the role lacks CONNECT on the database, or a right that a trigger at the login or a setting needs (42501)",
        "Grant what is missing, then run the same command again.",
    ),
    "53300": ("too many connections: a limit of the role, the database or the server", _ROOM),
    "55000": ("the database takes no connections (55000)", "ALTER DATABASE … ALLOW_CONNECTIONS true lets sessions in."),
}  # fmt: skip
_BY_CLASS = (
    (("57P",), "the server is starting or stopping", _AGAIN),
    (("P0", "23", "42P", "428"), "a trigger at the login failed with SQLSTATE {}; the server's log has more", _TRIGGER),
    (_PASSING, "the server could not open the session: SQLSTATE {}; its log has the reason", _AGAIN),
    (("",), "the server refused the session: SQLSTATE {}; its log has the reason", _SETTINGS),
)  # fmt: skip

_CONNECTING = 2
# libpq's ConnStatusType, where no server gave an SQLSTATE.
_BY_STATUS = {
    1: "the host name is not known, or the URL has a value that libpq cannot use",
    2: "nothing listens on this port, or the host is not reachable",
    4: "the connection was cut, or the two sides do not agree on the authentication",
    7: "the connection was cut at its beginning, or the two sides do not agree on TLS",
    9: "no host has the session that target_session_attrs asks for",
    10: "no host has the session that target_session_attrs asks for",
    12: "no host has the session that target_session_attrs asks for",
    13: "no host has the session that target_session_attrs asks for",
}


def not_connected(
    problem: psycopg2.OperationalError, parameters: Mapping[str, str], *, label: str, has_met: bool
) -> MoveError:
    """Asks once more, for psycopg2 has only the text, which has a language, and names users, files and parts of a URL.

    label: the database, for people. has_met: this call has had a session before.
    """
    untouched = "What was committed stays, what was not is undone." if has_met else "Nothing was written."
    if problem.pgcode:  # of the first statement
        return _answered(problem.pgcode, label=label, untouched=untouched)
    try:
        again = ask_again(parameters, seconds=_SECONDS)
    except (AttributeError, OSError, psycopg2.Error):  # a psycopg2 that hides its libpq, or no such parameter
        return _lost(label, "no server was reached, or its log has the reason", untouched)
    label = label if label == "demo" else again.place
    if again.sqlstate:
        return _answered(again.sqlstate, label=label, untouched=untouched)
    if again.needs_password:
        why = f"No connection to {label}: a password is needed, and none was given."
        return Blocked(
            why, untouched=untouched, next_step=f"Libpq reads no password file that others may read. {_CHECK}"
        )
    return _lost(label, _unanswered(again), untouched)


def _answered(sqlstate: str, *, label: str, untouched: str) -> MoveError:
    of_class = next((why, then) for classes, why, then in _BY_CLASS if sqlstate.startswith(classes))
    why, then = _BY_CODE.get(sqlstate, of_class)
    kind = ConnectionLost if sqlstate.startswith(_PASSING) else Blocked
    return kind(f"No connection to {label}: {why.format(sqlstate)}.", untouched=untouched, next_step=then)


def _lost(label: str, why: str, untouched: str) -> ConnectionLost:
    return ConnectionLost(f"No connection to {label}: {why}.", untouched=untouched, next_step=_CHECK)


def _unanswered(again: Again) -> str:
    if again.is_open:
        return "it was refused, and could be had a moment later"
    if again.is_late:
        return "nobody answered in time"
    if again.place.startswith("/") and again.reached <= _CONNECTING:
        return "no server is at this socket"
    return _BY_STATUS.get(again.reached, "the connection was cut at the login")
