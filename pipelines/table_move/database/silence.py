"""What libpq writes to the standard error by itself: what the server says while psycopg2 does not listen yet.

The level INFO comes through whatever `client_min_messages` says, and a trigger at the login may put a row into it.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache


@cache
def silence_libpq() -> None:
    """From here on C's stderr leads nowhere. Python writes to the descriptor itself, so nothing of ours is lost."""
    libc = ctypes.CDLL(None)
    name = "stderr" if hasattr(libc, "gnu_get_libc_version") else "__stderrp" if hasattr(libc, "__stderrp") else None
    if name is None:  # other C libraries keep it where it cannot be written
        return
    libc.fopen.argtypes, libc.fopen.restype = [ctypes.c_char_p, ctypes.c_char_p], ctypes.c_void_p
    if nowhere := libc.fopen(os.devnull.encode(), b"w"):
        ctypes.c_void_p.in_dll(libc, name).value = nowhere
