"""Workers that meet the locks of others, or one another: all is taken back and tried again, alone and in ever smaller
pieces, until it works or there is no time left."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from psycopg2 import Error

from pipelines.table_move.database.hold import TookTooLong
from pipelines.table_move.database.load import rejected_by_database
from pipelines.table_move.database.patience import REFUSED as REFUSED_LOCKS
from pipelines.table_move.database.piecemeal import refuses_a_row
from pipelines.table_move.pure.mapping import MappedRows


class Turns:
    """Whose turn it is among the workers of a phase: any number at a time, or one alone.

    rows: no piece has more than so many source rows, because more took too long; None: nobody knows of a bound.
    held_for: seconds that a piece may take.
    """

    def __init__(self, held_for: float) -> None:
        self.rows: int | None = None
        self._held_for = held_for
        self._changed = threading.Condition()
        self._at_work, self._alone, self._over = 0, False, False

    @contextmanager
    def taken(self, *, alone: bool) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._alone = alone
            if alone:
                self._changed.wait_for(lambda: not self._at_work)
            self._at_work += 1
        started = time.monotonic()
        try:
            yield
            if self.rows is not None and time.monotonic() - started < self._held_for / 4:
                self.rows *= 2  # whatever made it slow is over
        finally:
            with self._changed:
                self._at_work -= 1
                self._alone = self._alone and not alone
                self._changed.notify_all()

    def end(self) -> None:
        """Nobody tries again: another worker has failed, or somebody has interrupted."""
        self._over = True

    def cut(self, rows: MappedRows) -> list[MappedRows]:
        """Into pieces that are not too large."""
        pieces = [rows]
        while self.rows is not None and len(pieces[0].source_ids) > self.rows:
            pieces = [half for piece in pieces for half in piece.halves()]
        return pieces

    @property
    def go_on(self) -> bool:
        return not self._over


def in_pieces(
    turns: Turns, rows: MappedRows, write: Callable[[MappedRows, bool], int], *, patience: float, rejecting: bool
) -> int:
    """Write the rows, in one transaction where that works. Returns what `write` has written.

    write: one transaction of its own, with these rows, told whether they are the last.
    patience: seconds to try for one piece, from its first refusal on; then what refused it is raised.
    rejecting: a row that the database does not take is written as a rejected one; else that is raised.
    """
    waiting, written, tries, ends = turns.cut(rows), 0, 0, 0.0
    while waiting:
        piece, *rest = waiting
        try:
            with turns.taken(alone=tries > 0):
                written += write(piece, not rest)
            waiting, ends = rest, 0.0
        except TookTooLong:
            if not turns.go_on:
                raise
            turns.rows = max(len(piece.source_ids) // 2, 1)
            waiting = [*piece.halves(), *rest]
        except REFUSED_LOCKS:
            tries, ends = tries + 1, ends or time.monotonic() + patience
            if not turns.go_on or time.monotonic() > ends:
                raise
            waiting = [*piece.halves(), *rest] if tries > 1 else waiting
            time.sleep(random.uniform(0, min(0.02 * 2**tries, 1)))
        except Error as problem:
            if not (rejecting and refuses_a_row(problem)) or piece.pairs.empty:
                raise
            one = len(piece.source_ids) == 1
            waiting = [*([rejected_by_database(piece, problem)] if one else piece.halves()), *rest]
    return written
