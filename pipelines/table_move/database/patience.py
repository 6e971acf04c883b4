"""Again, where a lock was not to be had: nothing of ours waits long enough for the server to look for a deadlock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tenacity
from psycopg2 import errors

from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.in_the_way import LET_THEM, in_the_way_of_readers
from pipelines.table_move.errors import NotInTime

# The transaction is gone and nothing was changed. An overrun pause is not among them: it would make writers wait once
# more for the same end.
REFUSED = (errors.LockNotAvailable, errors.DeadlockDetected)

BRIEFLY = 5.0  # seconds that an attempt which has failed still tries for locks

Result = TypeVar("Result")


def again(once: Callable[[], Result], *, seconds: float, refused: Callable[[int], None] = lambda tries: None) -> Result:
    """Until it works or the time is over, with jitter between; then what refused it last is raised."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(REFUSED),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=3),
        stop=tenacity.stop_after_delay(seconds),
        before_sleep=lambda state: refused(state.attempt_number),
        reraise=True,
    )
    return retrying(once)


def look_patiently(database: Database, look: Callable[[], Result]) -> Result:
    """What only reads, where somebody keeps readers out for a while. Raises NotInTime after `lock_wait`."""
    try:
        return again(look, seconds=database.lock_wait)
    except REFUSED as problem:
        raise NotInTime(
            f"Tables could not be read within {database.lock_wait:g} s{in_the_way_of_readers(database)}.",
            untouched="Nothing was written.",
            next_step=LET_THEM.format("PIPELINES_LOCK_WAIT"),
        ) from problem
