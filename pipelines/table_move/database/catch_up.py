"""Bringing target and map up to date with the source, by comparing fingerprints.

Run without locks it settles most of what moved during the copy; run again while writers are excluded, it settles the
rest. Rows of the source are found by place, so what moves between the look and the read is left to the next round.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.claims import build_claims
from pipelines.table_move.database.connect import Session, as_application
from pipelines.table_move.database.copy import map_batch, settle
from pipelines.table_move.database.extract import at_places, read_rows
from pipelines.table_move.database.workers import in_parallel
from pipelines.table_move.pure.ranges import Place, batches


def catch_up(attempt: Attempt, *, patience: float = 0) -> int:
    """One round. Returns the target rows inserted, updated or removed.

    patience: seconds to wait for any one lock; 0 is without end.
    """
    build_claims(attempt, patience=patience)
    written = _drop_orphans(attempt, patience)
    settled = in_parallel(
        attempt, lambda session, part: _settle(attempt, session, part), _stale(attempt), patience=patience
    )
    return written + sum(settled)


def _drop_orphans(attempt: Attempt, patience: float) -> int:
    names = attempt.names
    with attempt.database.writing(patience=patience) as cursor:
        attempt.hold_fence(cursor)
        as_application(cursor, names.schema)
        cursor.execute(names.query("catchup.drop_orphans"))
        removed = cursor.rowcount
        cursor.execute(names.query("catchup.drop_rejected_orphans"))
        cursor.execute(names.query("catchup.promote"))
    return removed


def _stale(attempt: Attempt) -> Iterator[list[Place]]:
    """The places of rows that the map does not show as they are, in batches of about `batch_bytes`."""
    with attempt.database.reading() as cursor:
        cursor.execute(attempt.names.query("catchup.stale"))
        places = sorted((Place.parse(text), size) for text, size in cursor)
    yield from batches(places, attempt.settings.batch_bytes)


def _settle(attempt: Attempt, session: Session, places: list[Place]) -> int:
    with session, session.cursor() as cursor:
        attempt.hold_fence(cursor)
        rows = read_rows(
            cursor, attempt.names, at_places(places), with_map=True, with_assigned=attempt.owners_are_named
        )
        return settle(cursor, attempt, map_batch(attempt, rows)) if len(rows) else 0
