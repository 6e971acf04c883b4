"""Batches in pieces: halved where they take too long or keep meeting others, alone from the second try on."""

from __future__ import annotations

import pandas as pd
import pytest
from psycopg2 import errors

from pipelines.table_move.database.hold import TookTooLong
from pipelines.table_move.database.turns import Turns, in_pieces
from pipelines.table_move.pure.mapping import TEXT, MappedRows


def rows(count: int) -> MappedRows:
    names = ("source_id", "owner_id", "owner_rule")
    pairs = pd.DataFrame({name: pd.Series([str(n) for n in range(count)], dtype=TEXT) for name in names})
    return MappedRows(pairs=pairs, rejected=pairs.iloc[:0].assign(reason=None, detail=None))


class Written:
    """A `write` that fails as it is told, by the number of rows and of tries."""

    def __init__(self, *problems: Exception | int) -> None:
        self.sizes, self.last, self._problems = [], [], list(problems)

    def __call__(self, piece: MappedRows, is_last: bool) -> int:
        count = len(piece.source_ids)
        self.sizes.append(count)
        self.last.append(is_last)
        if self._problems and isinstance(self._problems[0], int):
            if count > self._problems[0]:
                raise TookTooLong
        elif self._problems:
            raise self._problems.pop(0)
        return count


def test_what_takes_too_long_is_halved_until_it_does_not_and_the_next_rows_begin_with_that() -> None:
    turns, write = Turns(0.001), Written(2)
    assert in_pieces(turns, rows(8), write, patience=1, rejecting=False) == 8
    assert write.sizes == [8, 4, 2, 2, 4, 2, 2]
    assert write.last == [True, False, False, False, True, False, True]
    again = Written(2)
    turns.rows = 2
    assert in_pieces(turns, rows(8), again, patience=1, rejecting=False) == 8
    assert again.sizes[0] == 2


def test_what_was_slow_and_is_not_any_more_grows_again() -> None:
    turns = Turns(1000)
    turns.rows = 2
    assert in_pieces(turns, rows(8), Written(), patience=1, rejecting=False) == 8
    assert turns.rows > 8


def test_what_meets_a_lock_is_tried_again_whole_and_then_in_halves() -> None:
    write = Written(errors.LockNotAvailable(), errors.DeadlockDetected())
    assert in_pieces(Turns(1), rows(4), write, patience=10, rejecting=False) == 4
    assert write.sizes == [4, 4, 2, 2]


def test_a_lock_that_stays_is_raised_when_the_patience_is_over() -> None:
    write = Written(*[errors.LockNotAvailable()] * 100)
    with pytest.raises(errors.LockNotAvailable):
        in_pieces(Turns(1), rows(4), write, patience=0, rejecting=False)
    assert len(write.sizes) <= 2


def test_nobody_tries_again_once_another_worker_has_failed() -> None:
    turns, write = Turns(1), Written(errors.LockNotAvailable())
    turns.end()
    with pytest.raises(errors.LockNotAvailable):
        in_pieces(turns, rows(4), write, patience=10, rejecting=False)
    assert write.sizes == [4]


def test_one_row_that_the_database_does_not_take_is_rejected_and_the_others_are_written() -> None:
    refused = [errors.CheckViolation()] * 3
    write = Written(*refused)
    assert in_pieces(Turns(1), rows(4), write, patience=1, rejecting=True) == 4
    assert write.sizes == [4, 2, 1, 1, 1, 2]
    with pytest.raises(errors.CheckViolation):
        in_pieces(Turns(1), rows(4), Written(errors.CheckViolation()), patience=1, rejecting=False)
