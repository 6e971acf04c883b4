"""Work in parallel: a session per worker thread, and the first failure stops the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.connect import Session
from pipelines.table_move.database.turns import Turns

Part = TypeVar("Part")
Result = TypeVar("Result")


def in_parallel(
    attempt: Attempt,
    work: Callable[[Session, Part], Result],
    parts: Iterable[Part],
    *,
    turns: Turns | None = None,
) -> Iterator[Result]:
    """Results of `work(session, part)` as they come, at most two parts per worker in flight; a session per worker.

    turns: whose turn it is where they keep meeting; over with the first failure.
    The first failure stops the others: their statements are cancelled and their transactions rolled back.
    """
    with _sessions(attempt) as session_of_thread, ThreadPoolExecutor(attempt.settings.workers) as executor:
        queue = iter(parts)
        pending: set[Future[Result]] = set()
        try:
            while True:
                for part in queue:
                    pending.add(executor.submit(lambda part=part: work(session_of_thread(), part)))
                    if len(pending) >= 2 * attempt.settings.workers:
                        break
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException:
            if turns is not None:
                turns.end()
            executor.shutdown(wait=False, cancel_futures=True)
            session_of_thread.cancel()
            raise


@contextmanager
def beside(work: Callable[[], object], give_up: Callable[[], None]) -> Iterator[None]:
    """Do the work beside the block, which does not end before it. Where both fail, the error of the work is raised.

    give_up: ends the work early; called where the block is left by an interrupt.
    """
    with ThreadPoolExecutor(1) as executor:
        working = executor.submit(work)
        try:
            yield
        except Exception:
            working.result()
            raise
        except BaseException:
            give_up()
            raise
        working.result()


class _SessionOfThread:
    """A session per worker thread, opened at its first use."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._local = threading.local()
        self._opened: list[Session] = []

    def __call__(self) -> Session:
        if not hasattr(self._local, "session"):
            self._local.session = self._attempt.database.connect()
            self._opened.append(self._local.session)
        return self._local.session

    def cancel(self) -> None:
        self._attempt.database.cancel(self._opened)

    def close(self) -> None:
        for session in self._opened:
            session.close()


@contextmanager
def _sessions(attempt: Attempt) -> Iterator[_SessionOfThread]:
    sessions = _SessionOfThread(attempt)
    try:
        yield sessions
    finally:
        sessions.close()
