"""The copy: ranges of the source through workers, each range with its rows, its map and its journal line at once."""

from __future__ import annotations

import pandas as pd
from psycopg2 import extensions, sql

from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.census import source_rows
from pipelines.table_move.database.connect import Session
from pipelines.table_move.database.extract import in_range, read_rows
from pipelines.table_move.database.load import REFUSED, insert, merge
from pipelines.table_move.database.workers import in_parallel
from pipelines.table_move.pure.mapping import MappedRows, map_rows
from pipelines.table_move.pure.ranges import Place, Range, every, remaining
from pipelines.table_move.status import Phase


def copy(attempt: Attempt) -> int:
    """Copy what is not copied yet. Returns the target rows written. A moving table is settled later, by `catch_up`."""
    source = attempt.located.facts.source
    with attempt.database.reading() as cursor:
        done = journal.committed_ranges(cursor, attempt.names.key, source.filenode)
        total = source_rows(cursor, attempt.names)
    parts = remaining(_cuts(attempt), [Range.parse(text) for text, _ in done])
    copied = sum(rows for _, rows in done)
    attempt.watch.progress(copied, total)
    written = 0
    for rows, inserted in in_parallel(attempt, lambda session, part: _copy_part(attempt, session, part), parts):
        copied, written = copied + rows, written + inserted
        attempt.watch.progress(copied, max(total, copied))
    _analyse(attempt)
    return written


def map_batch(attempt: Attempt, rows: pd.DataFrame) -> MappedRows:
    """Source rows as `read_rows` brings them, mapped as this attempt says."""
    return map_rows(
        rows,
        move=attempt.names.move,
        transform=attempt.transform,
        default_owner=attempt.default_owner,
        keep_target=attempt.keep_target,
        limits=attempt.located.limits,
    )


def settle(cursor: extensions.cursor, attempt: Attempt, mapped: MappedRows) -> int:
    """`merge` as this attempt says. Returns the target rows inserted or updated."""
    return merge(cursor, attempt.names, mapped, run_id=attempt.run_id, keep_target=attempt.keep_target)


def _cuts(attempt: Attempt) -> list[Place]:
    """Where to cut the heap so that a batch holds about `batch_bytes`; wide rows are counted one by one."""
    source, block = attempt.located.facts.source, attempt.located.facts.server.block_size
    batch_bytes = attempt.settings.batch_bytes
    if source.toast_bytes == 0:
        return every(batch_bytes // block, -(-source.heap_bytes // block))
    with attempt.database.reading() as cursor:
        cursor.execute(attempt.names.query("copy.byte_ranges"), {"batch_bytes": batch_bytes})
        return [Place.parse(place) for (place,) in cursor]


def _copy_part(attempt: Attempt, session: Session, part: Range) -> tuple[int, int]:
    """One batch: rows, map and journal line commit together. Returns source rows read, target rows written."""
    try:
        return _commit_part(attempt, session, part, careful=False)
    except REFUSED:
        # A row that is there already, was seen before in another place, lost its owner, or is refused: only this batch
        # goes slowly.
        return _commit_part(attempt, session, part, careful=True)


def _commit_part(attempt: Attempt, session: Session, part: Range, *, careful: bool) -> tuple[int, int]:
    with session, session.cursor() as cursor:
        attempt.hold_fence(cursor)
        rows = read_rows(
            cursor, attempt.names, in_range(part), with_map=careful, with_assigned=attempt.owners_are_named
        )
        mapped = map_batch(attempt, rows)
        if careful:
            written = settle(cursor, attempt, mapped)
        else:
            written = insert(cursor, attempt.names, mapped, run_id=attempt.run_id)
        journal.add_batch(
            cursor,
            attempt.names.key,
            attempt.run_id,
            phase=Phase.COPY,
            range_=str(part),
            filenode=attempt.located.facts.source.filenode,
            rows=len(rows),
        )
    return len(rows), written


def _analyse(attempt: Attempt) -> None:
    """Freshly filled tables have no statistics, and joins over them would be planned for a handful of rows."""
    facts = attempt.located.facts
    tables = [facts.source, facts.target, *filter(None, facts.references.values())]
    with attempt.database.writing() as cursor:
        cursor.execute("ANALYZE pipelines.id_map")
        cursor.execute(attempt.names.query("catalog.never_analysed"), {"oids": [table.oid for table in tables]})
        blind = {oid for (oid,) in cursor} | {facts.target.oid}
        for table in tables:
            if table.oid in blind:
                cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table.schema, table.name)))
