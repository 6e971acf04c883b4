"""Faults at the k-th statement or commit of a process. Installed in a child of the tests, never in the pipeline."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import psycopg2
from psycopg2 import extensions


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens at which point. `point` counts from 1, over all sessions of the process; COPY IN has a middle."""

    point: int
    when: Literal["before", "middle", "after"] = "before"
    action: Literal["kill", "stop", "terminate", "cancel"] = "kill"


class Points:
    """Counts the points that a process passes, writes them down, and does what the fault says at its own."""

    def __init__(self, fault: Fault | None, log: Path) -> None:
        self._fault = fault
        self._number = 0
        self._lock = threading.Lock()
        self._log = log.open("w", buffering=1, encoding="utf-8")

    @contextmanager
    def around(self, connection: extensions.connection, what: str) -> Iterator[bool]:
        """Around a statement or commit. Gives True where the statement itself has to be cancelled."""
        with self._lock:
            self._number += 1
            mine = self._fault if self._fault is not None and self._fault.point == self._number else None
            self._log.write(f"{self._number} {' '.join(what.split())[:120]}\n")
        if mine and mine.when == "before":
            self._act(mine, connection)
        yield bool(mine and mine.action == "cancel")
        if mine and mine.when == "after":
            self._act(mine, connection)

    def cut_short(self, file: Any, connection: extensions.connection) -> Any:
        """The file of a COPY, or where this is the point whose middle is meant, one that acts after half of it."""
        if self._fault is None or self._fault.when != "middle" or self._fault.point != self._number:
            return file
        return _Half(file, lambda: self._act(self._fault, connection))

    def _act(self, fault: Fault, connection: extensions.connection) -> None:
        if fault.action in ("kill", "stop"):
            os.kill(os.getpid(), signal.SIGKILL if fault.action == "kill" else signal.SIGSTOP)
            time.sleep(0.01)  # the signal needs a moment to arrive
        if fault.action == "terminate":
            other = psycopg2.connect(connection.dsn)
            other.autocommit = True
            other.cursor().execute("SELECT pg_terminate_backend(%s, 5000)", (connection.get_backend_pid(),))
            other.close()


class _Half:
    """A file that is read in small pieces, and acts when half of it has been read."""

    def __init__(self, file: BytesIO, act: Callable[[], None]) -> None:
        self._file, self._act, self._half = file, act, len(file.getbuffer()) // 2

    def read(self, size: int) -> bytes:
        if self._half is not None and self._file.tell() >= self._half:
            self._half = None
            self._act()
        return self._file.read(min(size, 512))


LONG = "SELECT pg_sleep(20)"


def cancel_soon(connection: extensions.connection) -> None:
    threading.Timer(0.1, connection.cancel).start()


def install_from(request: dict[str, Any]) -> None:
    """`install`, from what came over the line to the fork server."""
    fault = request["fault"]
    install(Fault(**fault) if fault else None, Path(request["log"]))


def install(fault: Fault | None, log: Path) -> None:
    """From here every statement and commit of this process is a point."""
    points = Points(fault, log)
    _in_psycopg2(points)
    _in_sqlalchemy()


def _in_psycopg2(points: Points) -> None:
    from pipelines.table_move.database import connect

    class Session(connect.Session):
        prefix = ""

        def cursor(self, *args: Any, **kwargs: Any) -> extensions.cursor:
            return super().cursor(*args, **{**kwargs, "cursor_factory": _cursor(points, self.prefix)})

        def commit(self) -> None:
            if self.prefix:  # of the gate, which only reads
                super().commit()
                return
            with points.around(self, "COMMIT"):
                super().commit()

    connect.Session = Session


def _in_sqlalchemy() -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from pipelines.table_move.database import connect

    @event.listens_for(Engine, "connect")
    def connected(connection: extensions.connection, _: Any) -> None:
        if isinstance(connection, connect.Session):  # else one of Great Expectations' own, for its first look
            connection.prefix = "[gate] "


def _cursor(points: Points, prefix: str) -> type[extensions.cursor]:
    from pipelines.table_move.database import cursor

    class Cursor(cursor.Cursor):
        def execute(self, statement: Any, values: Any = None) -> None:
            with points.around(self.connection, prefix + _text(statement, self)) as cancelled:
                if cancelled:
                    cancel_soon(self.connection)
                    statement, values = LONG, None
                super().execute(statement, values)

        def copy_expert(self, statement: Any, file: Any, size: int = 8192) -> None:
            with points.around(self.connection, _text(statement, self)) as cancelled:
                if cancelled:
                    cancel_soon(self.connection)
                    super().execute(LONG)
                super().copy_expert(statement, points.cut_short(file, self.connection), size)

    return Cursor


def _text(statement: Any, cursor: extensions.cursor) -> str:
    if isinstance(statement, bytes):  # a batch, put together already
        return statement.decode()
    return statement if isinstance(statement, str) else statement.as_string(cursor)
