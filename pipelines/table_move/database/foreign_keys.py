"""Foreign keys to the old table: from a text column they cannot point to a uuid, so they leave, and can come back."""

from __future__ import annotations

from typing import NamedTuple

from psycopg2 import errors, sql

from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.locking import locking, persist


def release(attempt: Attempt) -> int:
    """Take the foreign keys to the old table away and record them. Undo: `restore`. Returns how many."""
    found = attempt.located.facts.foreign_keys
    names = attempt.names
    tables = sorted({(key.schema, key.table) for key in found})
    locked = sql.SQL(", ").join([names.source, *(sql.Identifier(*table) for table in tables)])

    def once() -> None:
        with locking(attempt) as cursor:
            cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(locked))
            attempt.hold_fence(cursor)
            for key in found:
                record = {"table_name": key.table, "constraint_name": key.name, "run_id": attempt.run_id}
                cursor.execute(names.query("cutover.record_release"), {**key.__dict__, **record})
                table = sql.Identifier(key.schema, key.table)
                cursor.execute(names.query("cutover.release", table=table, constraint=sql.Identifier(key.name)))

    if found:
        persist(attempt, once)
    return len(found)


def restore(attempt: Attempt) -> list[str]:
    """Put the released foreign keys back: added without a scan, then validated if they were, under a weaker lock.

    Returns the names of those that what has been written since violates: they are back, but not validated.
    """
    with attempt.database.reading() as cursor:
        cursor.execute(attempt.names.query("cutover.released"))
        released = [Released(*row) for row in cursor]
    violated = []
    for key in released:
        persist(attempt, lambda key=key: _add(attempt, key))
        if key.validated and not persist(attempt, lambda key=key: _validate(attempt, key)):
            violated.append(key.constraint_name)
        persist(attempt, lambda key=key: _forget(attempt, key))
    return violated


class Released(NamedTuple):
    """A foreign key that left."""

    table_name: str
    constraint_name: str
    definition: str
    comment: str | None
    validated: bool


def _add(attempt: Attempt, key: Released) -> None:
    names = attempt.names
    table, constraint = names.table(key.table_name), sql.Identifier(key.constraint_name)
    definition = sql.SQL(key.definition.removesuffix(" NOT VALID"))
    with locking(attempt) as cursor:
        attempt.hold_fence(cursor)
        there = {"schema": names.schema, "table": key.table_name, "constraint": key.constraint_name}
        cursor.execute(names.query("cutover.is_restored"), there)
        if cursor.fetchone()[0]:
            return  # by an attempt that was broken off
        cursor.execute(names.query("cutover.restore", table=table, constraint=constraint, definition=definition))
        if key.comment is not None:
            comment = sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}")
            cursor.execute(comment.format(constraint, table, sql.Literal(key.comment)))


def _validate(attempt: Attempt, key: Released) -> bool:
    statement = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
    try:
        with locking(attempt) as cursor:
            cursor.execute(statement.format(attempt.names.table(key.table_name), sql.Identifier(key.constraint_name)))
    except errors.ForeignKeyViolation:
        return False
    return True


def _forget(attempt: Attempt, key: Released) -> None:
    """Last, so that whoever was broken off before does it all again."""
    with locking(attempt) as cursor:
        attempt.hold_fence(cursor)
        cursor.execute(attempt.names.query("cutover.forget_release"), key._asdict())
