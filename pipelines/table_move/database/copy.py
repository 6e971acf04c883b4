"""The copy: ranges of the source through workers, each range with its rows, its map and its journal line at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pandas as pd
from psycopg2 import Error, extensions, sql

from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.census import source_rows
from pipelines.table_move.database.connect import Session
from pipelines.table_move.database.extract import in_range, read_rows
from pipelines.table_move.database.hold import Hold
from pipelines.table_move.database.load import insert, merge, stage
from pipelines.table_move.database.locking import persist, told_who_was_in_the_way
from pipelines.table_move.database.piecemeal import refuses_a_row
from pipelines.table_move.database.turns import Turns, in_pieces
from pipelines.table_move.database.workers import in_parallel
from pipelines.table_move.errors import NotAsAsked
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
    turns = Turns(attempt.held_for)
    with told_who_was_in_the_way(attempt):
        for rows, inserted in in_parallel(attempt, partial(_copy_part, attempt, turns), parts, turns=turns):
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


def read(attempt: Attempt, session: Session, selected: sql.Composable, *, with_map: bool) -> pd.DataFrame:
    """Source rows in a transaction of their own: nobody else has to wait while they travel and are mapped."""
    with session, session.cursor() as cursor:
        return read_rows(cursor, attempt.names, selected, with_map=with_map, with_assigned=attempt.owners_are_named)


def settle(attempt: Attempt, turns: Turns, session: Session, mapped: MappedRows, *, patience: float) -> int:
    """`merge` as this attempt says, in one transaction or more. Returns the target rows inserted or updated."""
    write = partial(_write, attempt, session, careful=True)
    return in_pieces(turns, mapped, write, patience=patience, rejecting=True)


def _cuts(attempt: Attempt) -> list[Place]:
    """Where to cut the heap so that a batch holds about `batch_bytes`; wide rows are counted one by one."""
    source, block = attempt.located.facts.source, attempt.located.facts.server.block_size
    batch_bytes = attempt.settings.batch_bytes
    if source.toast_bytes == 0:
        return every(batch_bytes // block, -(-source.heap_bytes // block))
    with attempt.database.reading() as cursor:
        cursor.execute(attempt.names.query("copy.byte_ranges"), {"batch_bytes": batch_bytes})
        return [Place.parse(place) for (place,) in cursor]


def _copy_part(attempt: Attempt, turns: Turns, session: Session, part: Range) -> tuple[int, int]:
    """One batch: rows, map and journal line commit together. Returns source rows read, target rows written."""
    try:
        return _commit_part(attempt, turns, session, part, careful=False)
    except (Error, NotAsAsked) as problem:
        if isinstance(problem, Error) and not refuses_a_row(problem):
            raise
        # A row that is there already, was seen before in another place, lost its owner, is refused or kept: only this
        # batch goes slowly.
        return _commit_part(attempt, turns, session, part, careful=True)


def _commit_part(attempt: Attempt, turns: Turns, session: Session, part: Range, *, careful: bool) -> tuple[int, int]:
    rows = persist(attempt, lambda: read(attempt, session, in_range(part), with_map=careful))

    def note(cursor: extensions.cursor) -> None:
        journal.add_batch(
            cursor,
            attempt.names.key,
            attempt.run_id,
            phase=Phase.COPY,
            range_=str(part),
            filenode=attempt.located.facts.source.filenode,
            rows=len(rows),
        )

    write = partial(_write, attempt, session, careful=careful, note=note)
    mapped = map_batch(attempt, rows)
    return len(rows), in_pieces(turns, mapped, write, patience=attempt.settings.lock_wait, rejecting=careful)


def _write(
    attempt: Attempt,
    session: Session,
    rows: MappedRows,
    is_last: bool,
    *,
    careful: bool,
    note: Callable[[extensions.cursor], None] | None = None,
) -> int:
    """One transaction. note: what the journal says with the last of the rows. Returns the target rows written."""
    names, run_id = attempt.names, attempt.run_id
    with session, session.cursor() as cursor:
        stage(cursor, names, rows)
        attempt.hold_fence(cursor)
        hold = Hold(cursor, attempt.held_for if len(rows.source_ids) > 1 else None)
        if careful:
            written = merge(hold, names, rows, run_id=run_id, keep_target=attempt.keep_target)
        else:
            written = insert(hold, names, rows, run_id=run_id)
        if is_last and note is not None:
            note(cursor)
    return written


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
