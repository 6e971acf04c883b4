"""The rows that the move inserted leave the target again, batch by batch, as far as they are as they were and nothing
refers to them. Undone by the copy of the next run."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.back_names import BackNames, back_names
from pipelines.table_move.database.hold import Hold, TookTooLong
from pipelines.table_move.database.load import REFUSED, delete
from pipelines.table_move.database.locking import ROWS, locking, persist
from pipelines.table_move.database.names import Names
from pipelines.table_move.database.patience import REFUSED as REFUSED_LOCKS
from pipelines.table_move.status import Milestone

_BATCH = 10_000  # rows of the map


def remove(attempt: Attempt) -> int:
    """Remove them, then note that the move is rolled back. Returns how many rows went."""
    with attempt.database.reading() as cursor:
        back = back_names(cursor, attempt.located, switched=False)
    removed, after, rows = 0, None, _BATCH

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
        removed += gone
        if after is None:
            return removed


def _remove_batch(attempt: Attempt, back: BackNames, after: str | None, rows: int) -> tuple[int, str | None]:
    """One batch in one transaction; the last one moves on to the milestone. Returns the rows, and where to go on."""
    with locking(attempt, ROWS) as cursor:
        attempt.hold_fence(cursor)
        cursor.execute(back.query("rollback.next_rows"), {"after": after, "rows": rows})
        found = cursor.fetchone()
        if found is None:
            journal.reach(cursor, attempt.names.key, attempt.run_id, Milestone.ROLLED_BACK)
            return 0, None
        cursor.execute("SET LOCAL enable_nestloop = off")
        hold = Hold(cursor, attempt.held_for if rows > 1 else None)
        hold.execute(back.query("rollback.removable_rows"), {"after": after, "last": found[0]})
        return _delete(hold, attempt.names, cursor.fetchall()), found[0]


def _delete(hold: Hold, names: Names, keys: Sequence[tuple[str]]) -> int:
    """Where the database refuses, in halves: a row that something still refers to stays."""
    if not keys:
        return 0
    cursor = hold.cursor
    cursor.execute("SAVEPOINT removal")
    try:
        removed = delete(hold, names, keys)
    except REFUSED:
        cursor.execute("ROLLBACK TO SAVEPOINT removal")
        half = len(keys) // 2
        return 0 if not half else _delete(hold, names, keys[:half]) + _delete(hold, names, keys[half:])
    cursor.execute("RELEASE SAVEPOINT removal")
    return removed
