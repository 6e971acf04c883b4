"""Where people's text goes: a terminal or a file as plain text, or lines of JSON."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TextIO

import structlog
from rich.console import Console as RichConsole
from rich.table import Table

from pipelines.table_move.pure.shown import shown

_PLAIN_WIDTH = 160  # characters of a table where there is no terminal

Cell = str | Sequence[str]  # several texts stand below each other


class Sheet(Protocol):
    """What a verb tells people, line by line."""

    def line(self, text: str) -> None: ...

    def table(self, title: str, rows: Sequence[Sequence[Cell]], *, header: Sequence[str], right: int) -> None:
        """right: the column of numbers."""

    def trace(self, lines: Sequence[str]) -> None: ...


class Paper:
    """Plain text. Nothing in data is a command to the terminal or to rich, or a line of its own."""

    def __init__(self, file: TextIO) -> None:
        width = None if file.isatty() else _PLAIN_WIDTH
        self.rich = _Rich(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True, width=width)

    def line(self, text: str) -> None:
        self.rich.print(shown(text))

    def table(self, title: str, rows: Sequence[Sequence[Cell]], *, header: Sequence[str], right: int) -> None:
        table = Table(
            title=shown(title) or None, title_justify="left", show_header=bool(header), box=None, pad_edge=False
        )
        for number, name in enumerate(header or [""] * (len(rows[0]) if rows else 0)):
            table.add_column(name, justify="right" if number == right else "left", overflow="fold")
        for row in rows:
            table.add_row(*("\n".join(map(shown, _lines(cell))) for cell in row))
        self.rich.print(table)

    def trace(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.line(line)


class JsonLines:
    """One JSON object a line, whatever is in the data."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def line(self, text: str) -> None:
        if text:
            self._log.info("line", text=text)

    def table(self, title: str, rows: Sequence[Sequence[Cell]], *, header: Sequence[str], right: int) -> None:
        self._log.info("table", title=title, header=list(header), rows=[[*map(_plain, row)] for row in rows])

    def trace(self, lines: Sequence[str]) -> None:
        self._log.error("trace", lines=list(lines))


def logger(log_format: str, *, verbose: bool) -> Any:
    """Events on stderr, as text or as JSON."""
    as_json = log_format == "json"
    last = [structlog.processors.JSONRenderer(default=str)]
    if not as_json:
        last = [_harmless, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    level = logging.INFO if verbose or as_json else logging.ERROR
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )


def swallow(stream: TextIO) -> None:
    """From here the stream leads nowhere, so that not even its last flush fails."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class _Rich(RichConsole):
    """That nobody reads any more is no reason to stop a move."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        swallow(self.file)


def _harmless(_: Any, __: str, event: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, int | float) else shown(value) for name, value in event.items()}


def _lines(cell: Cell) -> Sequence[str]:
    return [cell] if isinstance(cell, str) else cell


def _plain(cell: Cell) -> str | list[str]:
    return cell if isinstance(cell, str) else list(cell)
