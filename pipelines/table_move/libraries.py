"""What libraries print by themselves: log records, warnings, errors of threads. Their texts may hold rows and SQL, so
only where they come from is told."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.table_move.database.server_error import describe

Say = Callable[..., None]


@contextmanager
def without_their_texts(say: Say) -> Iterator[None]:
    """say: takes an event and facts by name."""

    def warned(_: object, category: type, filename: str, line: int, *__: object) -> None:
        say("library_warning", kind=category.__name__, file=filename, line=line)

    def failed(found: Any) -> None:
        say("thread_failed", problem=describe(found.exc_value or found.exc_type()))

    handler = _Handler(say)
    before = warnings.showwarning, threading.excepthook, sys.unraisablehook
    logging.getLogger().addHandler(handler)
    warnings.showwarning, threading.excepthook, sys.unraisablehook = warned, failed, failed
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        warnings.showwarning, threading.excepthook, sys.unraisablehook = before


class _Handler(logging.Handler):
    """With a handler at the root, Python's own, which prints to stderr, has nothing to do."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say("library_message", logger=record.name, severity=record.levelname.lower())
