"""The copy: ranges of the source through workers, each range with its rows, its map and its journal line at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import pandas as pd
from psycopg2 import errors, sql

from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.census import source_rows
from pipelines.table_move.database.connect import Session, be_patient
from pipelines.table_move.database.extract import in_range, read_rows
from pipelines.table_move.database.load import insert, merge
from pipelines.table_move.pure.mapping import MappedRows, map_rows
from pipelines.table_move.pure.ranges import Place, Range, every, remaining
from pipelines.table_move.status import Phase

Part = TypeVar("Part")
Result = TypeVar("Result")


def copy(attempt: Attempt) -> int:
    """Copy what is not copied yet. Returns the target rows written. A moving table is settled later, by `catch_up`."""
    source = attempt.located.facts.source
    build_claims(attempt)
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


def build_claims(attempt: Attempt, *, patience: float = 0) -> None:
    """How often each owner refers to each value, as of now."""
    with attempt.database.writing(patience=patience) as cursor:
        attempt.hold_fence(cursor)
        cursor.execute(attempt.names.query("copy.clear_claims"))
        if attempt.names.references:
            cursor.execute(attempt.names.query("copy.build_claims"))
        cursor.execute("ANALYZE pipelines.claim")


def clear_claims(attempt: Attempt) -> None:
    with attempt.database.writing() as cursor:
        attempt.hold_fence(cursor)
        cursor.execute(attempt.names.query("copy.clear_claims"))


def map_batch(attempt: Attempt, rows: pd.DataFrame) -> MappedRows:
    """Source rows as `read_rows` brings them, mapped as this attempt says."""
    return map_rows(
        rows,
        move=attempt.names.move,
        transform=attempt.transform,
        default_owner=attempt.default_owner,
        limits=attempt.located.limits,
    )


def in_parallel(
    attempt: Attempt,
    work: Callable[[Session, Part], Result],
    parts: Iterable[Part],
    *,
    patience: float = 0,
) -> Iterator[Result]:
    """Results of `work(session, part)` as they come, at most two parts per worker in flight; a session per worker.

    patience: seconds to wait for any one lock; 0 is without end.
    The first failure stops the others: their statements are cancelled and their transactions rolled back.
    """
    with _sessions(attempt, patience) as session_of_thread, ThreadPoolExecutor(attempt.settings.workers) as executor:
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
            executor.shutdown(wait=False, cancel_futures=True)
            session_of_thread.cancel()
            raise


class _SessionOfThread:
    """A session per worker thread, opened at its first use."""

    def __init__(self, attempt: Attempt, patience: float) -> None:
        self._attempt = attempt
        self._patience = patience
        self._local = threading.local()
        self._opened: list[Session] = []

    def __call__(self) -> Session:
        if not hasattr(self._local, "session"):
            self._local.session = self._attempt.database.connect()
            self._opened.append(self._local.session)
            be_patient(self._local.session, self._patience)
        return self._local.session

    def cancel(self) -> None:
        for session in self._opened:
            if not session.closed:
                session.cancel()

    def close(self) -> None:
        for session in self._opened:
            session.close()


@contextmanager
def _sessions(attempt: Attempt, patience: float) -> Iterator[_SessionOfThread]:
    sessions = _SessionOfThread(attempt, patience)
    try:
        yield sessions
    finally:
        sessions.close()


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
    except (errors.UniqueViolation, errors.ForeignKeyViolation):
        # A row that is there already, was seen before in another place, or lost its owner: only this batch goes slowly.
        return _commit_part(attempt, session, part, careful=True)


def _commit_part(attempt: Attempt, session: Session, part: Range, *, careful: bool) -> tuple[int, int]:
    with session, session.cursor() as cursor:
        attempt.hold_fence(cursor)
        rows = read_rows(cursor, attempt.names, in_range(part), with_map=careful)
        mapped = map_batch(attempt, rows)
        write = merge if careful else insert
        written = write(cursor, attempt.names, mapped, run_id=attempt.run_id)
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
