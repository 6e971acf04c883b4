"""Adoption: a source row whose equal stands in the target already, under another id, follows to it instead of becoming
a second one. The pairs are fixed once, set-wise, before the copy; undone by deleting their rows of the map."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.connect import Session
from pipelines.table_move.database.copy import map_batch, read
from pipelines.table_move.database.extract import at_places
from pipelines.table_move.database.load import MAP_COLUMNS, copy_in
from pipelines.table_move.database.workers import in_parallel
from pipelines.table_move.pure.ranges import Place, batches

PHASE = "adoption"  # the journal's line that says it is done


def adopt(attempt: Attempt) -> int:
    """Fix the pairs, unless that has been done. Needs the claims. Returns how many."""
    names = attempt.names
    with attempt.database.reading() as cursor:
        cursor.execute(names.query("adoption.is_settled"))
        if cursor.fetchone()[0]:
            return 0
    with attempt.database.writing() as cursor:
        attempt.hold_fence(cursor)
        cursor.execute(names.query("adoption.clear"))  # what a killed attempt left
    for _ in in_parallel(attempt, lambda session, part: _note_candidates(attempt, session, part), _places(attempt)):
        pass
    return _pair(attempt)


def _places(attempt: Attempt) -> Iterator[list[Place]]:
    with attempt.database.reading() as cursor:
        cursor.execute(attempt.names.query("adoption.target_has_rows"))
        if not cursor.fetchone()[0]:
            return
        # In a hash join the target's fingerprints are computed once, in a nested loop once per source row.
        cursor.execute("SET LOCAL enable_nestloop = off")
        cursor.execute(attempt.names.query("adoption.places"))
        places = sorted((Place.parse(text), size) for text, size in cursor)
    yield from batches(places, attempt.settings.batch_bytes)


def _note_candidates(attempt: Attempt, session: Session, places: list[Place]) -> None:
    pairs = map_batch(attempt, read(attempt, session, at_places(places), with_map=True)).pairs
    with session, session.cursor() as cursor:
        candidates = attempt.names.query("adoption.copy_candidates")
        copy_in(cursor, candidates, pairs[list(MAP_COLUMNS)], {"move": attempt.names.key})
        attempt.hold_fence(cursor)  # last, because no server ends a COPY that waits for its client


def _pair(attempt: Attempt) -> int:
    names = attempt.names
    with attempt.database.writing() as cursor:
        attempt.hold_fence(cursor)
        cursor.execute("ANALYZE pipelines.candidate")
        cursor.execute("SET LOCAL enable_nestloop = off")
        cursor.execute("SELECT EXISTS (SELECT FROM pipelines.candidate)")
        found = 0
        if cursor.fetchone()[0]:
            cursor.execute(names.query("adoption.pair"), {"run_id": attempt.run_id})
            found = cursor.rowcount
        cursor.execute(names.query("adoption.clear"))
        filenode = attempt.located.facts.source.filenode
        journal.add_batch(cursor, names.key, attempt.run_id, phase=PHASE, range_="all", filenode=filenode, rows=found)
    return found
