"""Why a connection was not to be had: asked once more of libpq, for what has no language.

psycopg2 gives no SQLSTATE for it; libpq writes it in place of the server's text, where it is told to in time.
"""

from __future__ import annotations

import ctypes
import re
import select
import time
from collections.abc import Mapping
from typing import NamedTuple

from psycopg2 import _psycopg, extensions

_SQLSTATE_ONLY = 3  # PQERRORS_SQLSTATE
_OK, _BAD = 0, 1  # ConnStatusType
_READING, _WRITING = 1, 2  # PostgresPollingStatusType
_LAST_CODE = re.compile(r":  ([0-9A-Z]{5})$", re.MULTILINE)


class Again(NamedTuple):
    """sqlstate: the server's, else empty. reached: how far it got, as libpq's ConnStatusType.

    place: for people, with what libpq has from the environment or a service file; no secret in it.
    """

    sqlstate: str
    needs_password: bool
    is_open: bool
    is_late: bool
    reached: int
    place: str


def ask_again(parameters: Mapping[str, str], *, seconds: float) -> Again:
    """Raises AttributeError where psycopg2 hides its libpq."""
    libpq = _libpq()
    handle = libpq.PQconnectStart(extensions.make_dsn(**parameters).encode())
    try:
        libpq.PQsetErrorVerbosity(handle, _SQLSTATE_ONLY)
        reached = _follow(libpq, handle, ends=time.monotonic() + seconds)
        codes = _LAST_CODE.findall(libpq.PQerrorMessage(handle).decode("utf-8", "replace"))
        ended = libpq.PQstatus(handle)
        return Again(
            codes[-1] if codes else "",
            needs_password=bool(libpq.PQconnectionNeedsPassword(handle)),
            is_open=ended == _OK,
            is_late=ended not in (_OK, _BAD),
            reached=reached,
            place=_place(libpq, handle),
        )
    finally:
        libpq.PQfinish(handle)


def _follow(libpq: ctypes.CDLL, handle: int, *, ends: float) -> int:
    """Until it is open, has failed or takes too long; the last status before that."""
    polled, reached = _WRITING, libpq.PQstatus(handle)
    while (left := ends - time.monotonic()) > 0 and polled in (_READING, _WRITING):
        if libpq.PQsocket(handle) < 0:
            break
        reached, place = libpq.PQstatus(handle), [libpq.PQsocket(handle)]
        ready = select.select(place if polled == _READING else [], place if polled == _WRITING else [], [], left)
        if any(ready):
            polled = libpq.PQconnectPoll(handle)
    return reached


def _place(libpq: ctypes.CDLL, handle: int) -> str:
    parts = (getattr(libpq, name)(handle) or b"" for name in ("PQhost", "PQport", "PQdb", "PQuser"))
    host, port, database, user = (part.decode("utf-8", "replace") for part in parts)
    return f"{host or 'local socket'}:{port}/{database} as {user}"


def _libpq() -> ctypes.CDLL:
    """The one that psycopg2 has loaded."""
    found = ctypes.CDLL(_psycopg.__file__)
    found.PQconnectStart.argtypes, found.PQconnectStart.restype = [ctypes.c_char_p], ctypes.c_void_p
    found.PQsetErrorVerbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
    for name in ("PQconnectPoll", "PQstatus", "PQsocket", "PQconnectionNeedsPassword", "PQfinish"):
        getattr(found, name).argtypes = [ctypes.c_void_p]
    for name in ("PQhost", "PQport", "PQdb", "PQuser", "PQerrorMessage"):
        getattr(found, name).argtypes, getattr(found, name).restype = [ctypes.c_void_p], ctypes.c_char_p
    found.PQfinish.restype = None
    return found
