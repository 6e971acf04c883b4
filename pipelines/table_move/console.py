"""What people see: lines, a progress bar on a terminal, tables at the end; or one JSON object for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.table_move.errors import Blocked, FailedCheck, GateClosed, MoveError
from pipelines.table_move.paper import Cell, JsonLines, Paper, Sheet, logger, swallow
from pipelines.table_move.pure.world import Where

_PLAIN_EVERY = 2.0  # seconds between progress lines where there is no terminal


class Console:
    """The watch of a verb. People's text goes to stdout, or to stderr where stdout is for JSON; errors go to stderr.

    log_format: with json, stderr has one JSON object a line and nothing else, whatever happens.
    """

    def __init__(
        self, *, as_json: bool, log_format: str = "text", verbose: bool = False, is_demo: bool = False
    ) -> None:
        self._as_json = as_json
        self._log = logger(log_format, verbose=verbose)
        self._quiet = log_format == "json"
        self._errors: Sheet = JsonLines(self._log) if self._quiet else Paper(sys.stderr)
        self._people: Sheet = self._errors if as_json else Paper(sys.stdout)
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
        if isinstance(self._people, Paper) and self._people.rich.is_terminal:
            self._move_bar(self._people, rows, total)
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

    def warn(self, text: str) -> None:
        if self._quiet:
            self._log.warning("warning", text=text)
        else:
            self.line(f"Warning: {text}")

    def line(self, text: str = "") -> None:
        self._people.line(text)

    def table(self, title: str, rows: Sequence[Sequence[Cell]], *, header: Sequence[str] = ()) -> None:
        self._people.table(title, rows, header=header, right=1)

    def answer(self, document: Mapping[str, Any]) -> None:
        """The last word, and the one JSON object on stdout, where it was asked for. In ASCII, which every terminal
        bears."""
        if self.is_demo:
            self.line("DEMONSTRATION: give --database-url or DATABASE_URL to work on a real database.")
        if self._as_json:
            try:
                sys.stdout.write(json.dumps(document, default=str) + "\n")
                sys.stdout.flush()
            except BrokenPipeError:
                swallow(sys.stdout)

    def problem(self, problem: MoveError, *, world: str = "") -> None:
        """Where the world stands, what happened, what was left untouched, what to do next; on stderr."""
        self._end_bar()
        blockers = problem.blockers if isinstance(problem, Blocked) else ()
        failed = problem.failed if isinstance(problem, GateClosed) else ()
        if self._quiet:
            self._log.error(
                "problem",
                world=world,
                exit_code=problem.exit_code,
                happened=problem.happened,
                blockers=[asdict(blocker) for blocker in blockers],
                failed=[asdict(check) for check in failed],
                untouched=problem.untouched,
                next_step=problem.next_step,
            )
            return
        for first in ("", *filter(None, (world, problem.happened))):
            self._errors.line(first)
        for blocker in blockers:
            self._errors.line(f"  {blocker.code}: {blocker.message}")
            self._errors.line(f"    → {blocker.remedy}")
        if failed:
            self._failed(failed)
        for rest in filter(
            None, (problem.untouched, *problem.next_step.split("\n"))
        ):  # a command has a line of its own
            self._errors.line(rest)

    def trace(self, lines: Sequence[str]) -> None:
        """Where a bug came from; on stderr."""
        self._end_bar()
        self._errors.trace(lines)

    def ask(self, question: str) -> bool:
        """Whether somebody at the terminal says yes."""
        self._errors.line(f"{question} [y/N]")
        try:
            return input().strip().lower() in ("y", "yes")
        except EOFError:
            return False

    def _failed(self, failed: Sequence[FailedCheck]) -> None:
        """One table: what closes the gate, which rows, what to do."""
        header = ("expectation", "severity", "rows", "for example", "what to do")
        rows = [(check.name, check.severity, check.rows, check.samples, check.remedy) for check in failed]
        self._errors.table("", rows, header=header, right=header.index("rows"))

    def _plain_progress(self, rows: int, total: int) -> str:
        elapsed = max(time.monotonic() - self._started, 1e-6)
        rate = (rows - (self._first_rows or 0)) / elapsed
        left = f", {(total - rows) / rate:,.0f} s left" if rate > 0 and rows < total else ""
        share = f" ({100 * rows / total:.0f} %)" if total else ""
        return f"{rows:,} of {total:,} rows{share}, {rate:,.0f} rows/s{left}"

    def _move_bar(self, paper: Paper, rows: int, total: int) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("  "),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]} rows/s"),
                TimeRemainingColumn(),
                console=paper.rich,
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
