"""Bringing target and map up to date with the source.

Run without locks it settles most of what moved during the copy; run again while writers are excluded, it settles the
rest. Rows of the source are found by place, so what moves between the look and the read is left to the next round.
"""

from __future__ import annotations

from functools import partial

from psycopg2 import sql

from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.claims import build_claims
from pipelines.table_move.database.connect import Session
from pipelines.table_move.database.copy import map_batch, read, settle
from pipelines.table_move.database.extract import at_places
from pipelines.table_move.database.hold import Hold
from pipelines.table_move.database.load import delete
from pipelines.table_move.database.locking import persist, told_who_was_in_the_way
from pipelines.table_move.database.turns import Turns
from pipelines.table_move.database.workers import in_parallel
from pipelines.table_move.pure.ranges import Place, batches


def catch_up(attempt: Attempt, *, since: int | None = None) -> int:
    """One round. Returns the target rows inserted, updated or removed.

    since: only what has moved since then (see `versions`), where everything before is known to be settled; for the
        switch, which takes all back where a lock is not to be had. None: every row is compared by its fingerprints, and
        locks are tried for as long as `lock_wait` says.
    """
    if since is not None:
        removed = _drop_orphans(attempt) if _touch(attempt, since) else 0
        return removed + settle_touched(attempt)
    persist(attempt, lambda: build_claims(attempt))
    removed = persist(attempt, lambda: _drop_orphans(attempt))
    stale = persist(attempt, lambda: _stale(attempt, only_touched=False))
    with told_who_was_in_the_way(attempt):
        return removed + _settle(attempt, stale, patience=attempt.settings.lock_wait)


def settle_touched(attempt: Attempt) -> int:
    """What `_touch` or `touch_target` has found. Returns the target rows inserted, updated or removed."""
    return _settle(attempt, _stale(attempt, only_touched=True), patience=attempt.lock_timeout)


def target_has_moved(attempt: Attempt) -> bool:
    """Whether a touched row of the target is not as the map shows it."""
    names = attempt.names
    with attempt.database.reading() as cursor:
        cursor.execute(names.query("catchup.target_has_moved", m_in_question=names.touched(sql.SQL("m.source_id"))))
        return cursor.fetchone()[0]


def touch_target(attempt: Attempt, since: int) -> None:
    """Note what has moved in the target since, and what is no longer there."""
    with attempt.database.writing() as cursor:
        attempt.hold_fence(cursor)
        cursor.execute(attempt.names.query("catchup.touch_target", t_is_new=attempt.names.is_new("t", since)))


def _touch(attempt: Attempt, since: int) -> bool:
    """Note what has moved in the old world since, and who claims it. Returns whether a row or an owner is gone."""
    names = attempt.names
    new = {f"{alias}_is_new": names.is_new(alias, since) for alias in "sr"}
    with attempt.database.writing() as cursor:
        attempt.hold_fence(cursor)
        cursor.execute(names.query("catchup.untouch"))
        cursor.execute(names.query("catchup.touch", **new))
        cursor.execute("ANALYZE pipelines.touched")
        cursor.execute(names.query("copy.clear_claims_of_touched"))
        cursor.execute(names.query("copy.build_claims_of_touched"))
        cursor.execute(names.query("catchup.something_vanished"))
        return cursor.fetchone()[0]


def _drop_orphans(attempt: Attempt) -> int:
    names = attempt.names
    with attempt.database.writing() as cursor:
        attempt.hold_fence(cursor)
        cursor.execute(names.query("catchup.drop_orphans"))
        removed = delete(Hold(cursor, None), names, cursor.fetchall())
        cursor.execute(names.query("catchup.drop_rejected_orphans"))
        cursor.execute(names.query("catchup.promote"))
    return removed


def _stale(attempt: Attempt, *, only_touched: bool) -> list[list[Place]]:
    """The places of rows that the map does not show as they are, in batches of about `batch_bytes`."""
    names = attempt.names

    def in_question(source_id: sql.Composable) -> sql.Composable:
        return names.touched(source_id) if only_touched else names.everything

    question = names.query(
        "catchup.stale",
        s_in_question=in_question(names.source_id),
        c_in_question=in_question(sql.SQL("c.source_id")),
        m_in_question=in_question(sql.SQL("m.source_id")),
    )
    with attempt.database.reading() as cursor:
        cursor.execute(question)
        places = sorted((Place.parse(text), size) for text, size in cursor)
    return list(batches(places, attempt.settings.batch_bytes))


def _settle(attempt: Attempt, stale: list[list[Place]], *, patience: float) -> int:
    turns = Turns(attempt.held_for)
    return sum(in_parallel(attempt, partial(_settle_batch, attempt, turns, patience=patience), stale, turns=turns))


def _settle_batch(attempt: Attempt, turns: Turns, session: Session, places: list[Place], *, patience: float) -> int:
    rows = read(attempt, session, at_places(places), with_map=True)
    return settle(attempt, turns, session, map_batch(attempt, rows), patience=patience) if len(rows) else 0
