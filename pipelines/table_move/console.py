"""What people see: lines, a progress bar on a terminal, tables at the end; or one JSON object for programs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.table_move.errors import Blocked, FailedCheck, GateClosed, MoveError
from pipelines.table_move.pure.world import Where

_PLAIN_EVERY = 2.0  # seconds between progress lines where there is no terminal
_PLAIN_WIDTH = 160  # characters of a table there


def shown(text: object) -> str:
    """Text of others for a terminal: control and formatting characters become escapes."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in str(text)
    )


class _Rich(RichConsole):
    """That nobody reads any more is no reason to stop a move."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        _swallow(self.file)


def _swallow(stream: TextIO) -> None:
    """From here the stream leads nowhere, so that not even its last flush fails."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class Console:
    """The watch of a verb. People's text goes to stdout, or to stderr where stdout is for JSON."""

    def __init__(
        self, *, as_json: bool, log_format: str = "text", verbose: bool = False, is_demo: bool = False
    ) -> None:
        self._as_json = as_json
        self._people: TextIO = sys.stderr if as_json else sys.stdout
        self._rich = _Rich(file=self._people, highlight=False, markup=False, soft_wrap=True)
        self._log = _logger(log_format, verbose)
        self._quiet = log_format == "json"
        self._bar: Progress | None = None
        self._phase = ""
        self._started = self._said = 0.0
        self._first_rows: int | None = None
        self.is_demo = is_demo

    def __enter__(self) -> Console:
        if self.is_demo:
            self.line("DEMONSTRATION: the embedded PostgreSQL with made-up data, no real database.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_bar()
        if self.is_demo:
            self.line("DEMONSTRATION: give --database-url or DATABASE_URL to work on a real database.")

    def phase(self, name: str, detail: str = "") -> None:
        self._end_bar()
        self._phase, self._started, self._first_rows = name, time.monotonic(), None
        self._log.info("phase", phase=str(name), detail=detail)
        if not self._quiet:
            self.line(f"{name} …" if not detail else f"{name}: {detail}")

    def progress(self, rows: int, total: int) -> None:
        if self._first_rows is None:
            self._first_rows, self._said = rows, time.monotonic()
            self._started = self._said  # the rate is that of the rows, without what came before the first
        self._log.info("progress", phase=str(self._phase), rows=rows, total=total)
        if self._quiet:
            return
        if self._rich.is_terminal:
            self._move_bar(rows, total)
        elif time.monotonic() - self._said >= _PLAIN_EVERY or (rows == total and rows > self._first_rows):
            self._said = time.monotonic()
            self.line(f"  {self._plain_progress(rows, total)}")

    def where(self, found: Where) -> None:
        """Before anything else: which server, database and role, and where the world stands."""
        self._log.info("where", **found.as_dict())
        if not self._quiet:
            self.line(found.server.sentence)
            self.line(found.world.sentence)

    def say(self, event: str, **facts: object) -> None:
        self._log.warning(event, **facts)

    def line(self, text: str = "") -> None:
        self._rich.print(shown(text))

    def table(self, title: str, rows: Sequence[tuple[str, ...]], *, header: Sequence[str] = ()) -> None:
        table = Table(title=shown(title), title_justify="left", show_header=bool(header), box=None, pad_edge=False)
        for number, name in enumerate(header or [""] * (len(rows[0]) if rows else 0)):
            table.add_column(name, justify="right" if number == 1 else "left", overflow="fold")
        for row in rows:
            table.add_row(*(shown(cell) for cell in row))
        self._rich.print(table)

    def answer(self, document: Mapping[str, Any]) -> None:
        """The one JSON object on stdout, where it was asked for."""
        if self._as_json:
            try:
                sys.stdout.write(json.dumps(document, ensure_ascii=False, default=str) + "\n")
                sys.stdout.flush()
            except BrokenPipeError:
                _swallow(sys.stdout)

    def problem(self, problem: MoveError, *, world: str = "") -> None:
        """Where the world stands, what happened, what was left untouched, what to do next; on stderr."""
        self._end_bar()
        errors = _Rich(file=sys.stderr, highlight=False, markup=False, soft_wrap=True)
        errors.print(shown("\n".join(("", *filter(None, (world, problem.happened))))))
        for blocker in problem.blockers if isinstance(problem, Blocked) else ():
            errors.print(shown(f"  {blocker.code}: {blocker.message}\n    → {blocker.remedy}"))
        if isinstance(problem, GateClosed) and problem.failed:
            self._failed(errors, problem.failed)
        for rest in (problem.untouched, problem.next_step):
            if rest:
                errors.print(shown(rest))

    def trace(self, lines: Sequence[str]) -> None:
        """Where a bug came from; on stderr."""
        self._end_bar()
        sys.stderr.write("".join(f"{shown(line)}\n" for line in lines))

    def _failed(self, errors: RichConsole, failed: Sequence[FailedCheck]) -> None:
        """One table: what closes the gate, which rows, what to do."""
        table = Table(box=None, pad_edge=False)
        for name in ("expectation", "severity", "rows", "for example", "what to do"):
            table.add_column(name, justify="right" if name == "rows" else "left", overflow="fold")
        for check in failed:
            cells = (check.name, check.severity, check.rows, "\n".join(check.samples), check.remedy)
            table.add_row(*(shown(cell) for cell in cells))
        wide = errors if errors.is_terminal else _Rich(file=sys.stderr, markup=False, width=_PLAIN_WIDTH)
        wide.print(table)

    def _plain_progress(self, rows: int, total: int) -> str:
        elapsed = max(time.monotonic() - self._started, 1e-6)
        rate = (rows - (self._first_rows or 0)) / elapsed
        left = f", {(total - rows) / rate:,.0f} s left" if rate > 0 and rows < total else ""
        share = f" ({100 * rows / total:.0f} %)" if total else ""
        return f"{rows:,} of {total:,} rows{share}, {rate:,.0f} rows/s{left}"

    def _move_bar(self, rows: int, total: int) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("  "),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]} rows/s"),
                TimeRemainingColumn(),
                console=self._rich,
                transient=True,
            )
            self._bar.add_task("", total=total, completed=rows, rate="")
            self._bar.start()
        rate = (rows - (self._first_rows or 0)) / max(time.monotonic() - self._started, 1e-6)
        self._bar.update(self._bar.task_ids[0], completed=rows, total=total, rate=f"{rate:,.0f}")

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _logger(log_format: str, verbose: bool) -> Any:
    import logging

    import structlog

    renderer = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    level = logging.INFO if verbose or log_format == "json" else logging.ERROR
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
