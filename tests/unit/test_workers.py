"""Work beside a block: both end, and the right error is raised."""

from __future__ import annotations

import threading

import pytest

from pipelines.table_move.database.workers import beside


def fails(message: str) -> None:
    raise ValueError(message)


def test_a_block_does_not_end_before_the_work_beside_it() -> None:
    went_on, ended = threading.Event(), []
    with beside(lambda: (went_on.wait(5), ended.append("work")), ended.clear):
        ended.append("block")
        went_on.set()
    assert ended == ["block", "work"]


@pytest.mark.parametrize(
    ("work", "block", "raised"),
    [
        (lambda: None, "block", "block"),
        (lambda: fails("work"), None, "work"),
        (lambda: fails("work"), "block", "work"),
    ],
)
def test_what_failed_is_raised_and_the_work_goes_first(work, block: str | None, raised: str) -> None:
    with pytest.raises(ValueError, match=raised), beside(work, lambda: None):
        if block:
            fails(block)


def test_an_interrupt_does_not_wait_for_work_that_nobody_wants_any_more() -> None:
    enough = threading.Event()
    with pytest.raises(KeyboardInterrupt), beside(lambda: enough.wait(30) or fails("it went on"), enough.set):
        raise KeyboardInterrupt
    assert enough.is_set()
