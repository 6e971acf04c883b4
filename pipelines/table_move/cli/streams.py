"""What is printed arrives in any environment: a character that a stream has no bytes for becomes an escape."""

from __future__ import annotations

import sys
from io import TextIOWrapper


def never_refuse() -> None:
    """From here neither stdout nor stderr fails for a character, whatever PYTHONIOENCODING and the locale say."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
