"""Foreign keys to the old table: from a text column they cannot point to a uuid, so they leave, and can come back."""

from __future__ import annotations

from typing import NamedTuple

from psycopg2 import errors, sql

from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.locking import READERS, VALIDATION, WRITERS, locking, persist
from pipelines.table_move.status import Milestone


def release(attempt: Attempt) -> int:
    """Take the foreign keys to the old table away and record them. Undo: `restore`. Returns how many."""
    found = attempt.located.facts.foreign_keys
    names = attempt.names
    tables = sorted({(key.schema, key.table) for key in found})
    locked = sql.SQL(", ").join([names.source, *(sql.Identifier(*table) for table in tables)])

    def once() -> None:
        first = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(locked)
        with locking(attempt, READERS, first=first) as cursor:
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

    Only while the old table is in charge. Whatever an attempt before this one had begun is finished. Returns the names
    of those that cannot be validated, because rows have come that violate them: they are back, but NOT VALID.
    """
    with attempt.database.reading() as cursor:
        cursor.execute(attempt.names.query("cutover.released"))
        released = [Released(*row) for row in cursor]
    broken = []
    for key in released:
        if not key.is_back:
            persist(attempt, lambda key=key: _add(attempt, key))
        if key.validated and not persist(attempt, lambda key=key: _validate(attempt, key)):
            broken.append(key.constraint_name)
    return broken


class Released(NamedTuple):
    """A foreign key that left. is_back: it has come back, but perhaps is not validated yet."""

    table_name: str
    constraint_name: str
    definition: str
    comment: str | None
    validated: bool
    is_back: bool


def _add(attempt: Attempt, key: Released) -> None:
    names = attempt.names
    table, constraint = names.table(key.table_name), sql.Identifier(key.constraint_name)
    definition = sql.SQL(key.definition.removesuffix(" NOT VALID"))
    first = names.query("cutover.restore", table=table, constraint=constraint, definition=definition)
    with locking(attempt, WRITERS, first=first) as cursor:
        attempt.hold_fence(cursor)
        journal.require(cursor, names.key, Milestone.COPYING)
        if key.comment is not None:
            comment = sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}")
            cursor.execute(comment.format(constraint, table, sql.Literal(key.comment)))
        if not key.validated:
            cursor.execute(names.query("cutover.forget_release"), key._asdict())


def _validate(attempt: Attempt, key: Released) -> bool:
    """Whether it holds. The journal forgets it either way: it is back."""
    names = attempt.names
    statement = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
    with locking(attempt, VALIDATION) as cursor:
        cursor.execute("SAVEPOINT validation")
        try:
            cursor.execute(statement.format(names.table(key.table_name), sql.Identifier(key.constraint_name)))
            holds = True
        except errors.ForeignKeyViolation:
            cursor.execute("ROLLBACK TO SAVEPOINT validation")
            holds = False
        attempt.hold_fence(cursor)
        cursor.execute(names.query("cutover.forget_release"), key._asdict())
    return holds
