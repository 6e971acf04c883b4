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
_OK, _READING, _WRITING = 0, 1, 2
_LAST_CODE = re.compile(r":  ([0-9A-Z]{5})$", re.MULTILINE)


class Again(NamedTuple):
    """sqlstate: the server's, else empty. reached: how far it got, as libpq's ConnStatusType."""

    sqlstate: str
    needs_password: bool
    is_open: bool
    reached: int


def ask_again(parameters: Mapping[str, str], *, seconds: float) -> Again:
    """Raises AttributeError where psycopg2 hides its libpq."""
    libpq = _libpq()
    handle = libpq.PQconnectStart(extensions.make_dsn(**parameters).encode())
    try:
        libpq.PQsetErrorVerbosity(handle, _SQLSTATE_ONLY)
        reached = _follow(libpq, handle, ends=time.monotonic() + seconds)
        codes = _LAST_CODE.findall(libpq.PQerrorMessage(handle).decode("utf-8", "replace"))
        is_open = libpq.PQstatus(handle) == _OK
        return Again(codes[-1] if codes else "", bool(libpq.PQconnectionNeedsPassword(handle)), is_open, reached)
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


def _libpq() -> ctypes.CDLL:
    """The one that psycopg2 has loaded."""
    found = ctypes.CDLL(_psycopg.__file__)
    found.PQconnectStart.argtypes, found.PQconnectStart.restype = [ctypes.c_char_p], ctypes.c_void_p
    found.PQsetErrorVerbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
    for name in ("PQconnectPoll", "PQstatus", "PQerrorMessage", "PQsocket", "PQconnectionNeedsPassword", "PQfinish"):
        getattr(found, name).argtypes = [ctypes.c_void_p]
    found.PQerrorMessage.restype, found.PQfinish.restype = ctypes.c_char_p, None
    return found
