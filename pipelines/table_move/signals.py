"""SIGINT, SIGTERM and SIGHUP, also while a statement runs: it is cancelled on the server, the verb ends in order.

A second one, some seconds later, is from somebody to whom that takes too long: the connections are cut.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipelines.table_move.errors import Interrupted


class Signalled(BaseException):
    """Raised in the main thread. No Exception, so that nobody on the way takes it for a failure and tries again."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Signals:
    """What came, and whom to tell. `cancel` ends the statements that run, `cut` their connections; both are called
    from other threads."""

    def __init__(self) -> None:
        self.cancel: Callable[[], None] = lambda: None
        self.cut: Callable[[], None] = lambda: None
        self.came: int | None = None

    def told(self) -> Interrupted:
        """The signal that came, as the error that it is for people."""
        return Interrupted(
            f"Interrupted by {signal.Signals(self.came).name}.",
            signal_number=self.came,
            untouched="What was committed stays, what was not is undone.",
            next_step="Run the same command again: it goes on where it stopped.",
        )


@contextmanager
def signals() -> Iterator[Signals]:
    """Handle signals for the duration of a verb.

    Python runs a handler only between its own instructions, and libpq waits for a statement without giving it a
    chance. The byte that the interpreter writes at once wakes a thread, which cancels the statement.
    """
    found = Signals()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def raise_(number: int, _: object) -> None:
        if found.came is None:  # a second one does not disturb the end that is under way
            found.came = number
            raise Signalled(number)

    def watch() -> None:
        first = None
        while os.read(reading, 1) != _END:
            if first is None:
                first = time.monotonic()
                # In a thread of its own: cancelling means a connection, which a vanished server does not answer.
                threading.Thread(target=found.cancel, name="cancel", daemon=True).start()
            elif time.monotonic() - first > AGAIN:
                found.cut()

    def raise_again(lost: sys.UnraisableHookArgs) -> None:
        """Raised in a callback of the garbage collector, it ended there: once more, when that is over."""
        if isinstance(lost.exc_value, Signalled):
            found.came = None
            threading.Timer(SOON, os.kill, (os.getpid(), lost.exc_value.number)).start()
        else:
            before_hook(lost)

    before_hook, sys.unraisablehook = sys.unraisablehook, raise_again
    before_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        wanted.append(signal.SIGHUP)
    before = {number: signal.signal(number, raise_) for number in wanted}
    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        sys.unraisablehook = before_hook
        os.write(writing, _END)
        watcher.join()
        os.close(reading)
        os.close(writing)


AGAIN = 2.0  # seconds: what comes sooner is the same signal on two ways, by the terminal and by a parent process
SOON = 0.05
_END = b"\0"
