"""A signal ends the work under way wherever it meets it."""

from __future__ import annotations

import os
import signal
import time
import weakref

import pytest

from pipelines.table_move.signals import Signalled, signals


class Thing:
    """Something with a callback for its end."""


def test_a_signal_that_meets_a_callback_of_the_garbage_collector_is_not_lost() -> None:
    thing = Thing()
    going = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with signals() as received:
        with pytest.raises(Signalled):
            del thing
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                time.sleep(0.01)
        assert received.came == signal.SIGTERM
    assert going() is None
