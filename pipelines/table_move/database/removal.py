"""The rows that the move inserted leave the target again, batch by batch, as far as they are as they were and nothing
refers to them. Undone by the copy of the next run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import itemgetter

from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.back_names import BackNames, back_names
from pipelines.table_move.database.hold import Hold, TookTooLong
from pipelines.table_move.database.load import delete
from pipelines.table_move.database.locking import ROWS, locking, persist
from pipelines.table_move.database.losses import look_since
from pipelines.table_move.database.patience import REFUSED as REFUSED_LOCKS
from pipelines.table_move.database.piecemeal import piecemeal
from pipelines.table_move.pure.losses import Loss, LossKind, losses
from pipelines.table_move.status import Milestone

_BATCH = 10_000  # rows of the map


def remove(attempt: Attempt, *, accept: Callable[[tuple[Loss, ...]], None], count: Callable[[int], None]) -> None:
    """Remove them, then note that the move is rolled back.

    accept: told of the rows that stay; raises Blocked where that is not accepted, and then the move is not rolled back.
    count: told how many rows each batch has removed.
    """
    with attempt.database.reading() as cursor:
        back = back_names(cursor, attempt.located, switched=False)
    after, rows = None, _BATCH

    def once() -> tuple[int, str | None]:
        nonlocal rows
        try:
            return _remove_batch(attempt, back, after, rows)
        except (TookTooLong, *REFUSED_LOCKS):  # fewer at a time may work
            rows = max(rows // 2, 1)
            raise

    while True:
        try:
            gone, after = persist(attempt, once)
        except TookTooLong:
            continue
        count(gone)
        if after is None:
            persist(attempt, partial(_end, attempt, back, accept))
            return


def _remove_batch(attempt: Attempt, back: BackNames, after: str | None, rows: int) -> tuple[int, str | None]:
    """One batch in one transaction. Returns the rows that went, and where to go on; None where nothing is left."""
    with locking(attempt, ROWS) as cursor:
        attempt.hold_fence(cursor)
        cursor.execute(back.query("rollback.next_rows"), {"after": after, "rows": rows})
        found = cursor.fetchone()
        if found is None:
            return 0, None
        cursor.execute("SET LOCAL enable_nestloop = off")
        hold = Hold(cursor, attempt.held_for if rows > 1 else None)
        hold.execute(back.query("rollback.removable_rows"), {"after": after, "last": found[0]})
        keys = cursor.fetchall()
        kept = piecemeal(cursor, keys, partial(delete, hold, attempt.names), key=itemgetter(0))
        return len(keys) - len(kept), found[0]


def _end(attempt: Attempt, back: BackNames, accept: Callable[[tuple[Loss, ...]], None]) -> None:
    """What still stands is named: edited or referred to since it was looked at, refused, or kept by a trigger."""
    with locking(attempt, ROWS) as cursor:
        attempt.hold_fence(cursor)
        found = losses(look_since(cursor, attempt, back), switched=False)
        known = {key for loss in found for key in loss.keys}
        cursor.execute(back.query("rollback.left_rows"))
        kept = tuple(key for (key,) in cursor if key not in known)
        accept((*found, Loss(kind=LossKind.KEPT, keys=kept)) if kept else found)
        journal.reach(cursor, attempt.names.key, attempt.run_id, Milestone.ROLLED_BACK)
