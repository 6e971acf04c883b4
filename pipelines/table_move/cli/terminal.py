"""Whether somebody sits there who can be asked."""

from __future__ import annotations

import sys


def on_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
