"""Between the switch and the retirement: the old table is frozen, is the one of the move, and holds what was moved."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg2 import extensions

from pipelines.table_move.database.catalog import Located, locate
from pipelines.table_move.database.names import Names
from pipelines.table_move.database.queries import query
from pipelines.table_move.errors import Blocked, Blocker
from pipelines.table_move.pure.quoting import literal

_SHOWN = 3  # keys in a message


def thawed(cursor: extensions.cursor, located: Located) -> Iterator[Blocker]:
    """What has undone the freeze: what is written then leaves with the old table, and is lost."""
    source = located.facts.source
    if source is None:
        return
    cursor.execute(query("cutover.is_frozen"), {"oid": source.oid})
    if not cursor.fetchone()[0]:
        yield Blocker(
            code="not_frozen",
            message=f"{source.label} is not frozen any more: its trigger pipelines_frozen is gone or disabled.",
            remedy="CREATE OR REPLACE TRIGGER pipelines_frozen BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON "
            f"{source.sql} FOR EACH STATEMENT EXECUTE FUNCTION pipelines.refuse_write("
            f"{literal(located.names.frozen_names)}); ALTER TABLE {source.sql} ENABLE ALWAYS TRIGGER pipelines_frozen;",
        )


def written_since(cursor: extensions.cursor, located: Located) -> Iterator[Blocker]:
    """What was written to the old table since the switch, in spite of the freeze."""
    source = located.facts.source
    count, keys = unlike_the_map(cursor, located.names) if source is not None else (0, [])
    if count:
        rows = "1 row" if count == 1 else f"{count:,} rows"
        yield Blocker(
            code="written_while_frozen",
            message=f"{rows} of {source.label} changed after the switch, which the new table does not have: "
            f"{', '.join(keys)}.",
            remedy=f"Undo that in the old table; or take the move back, python -m pipelines.{located.names.move.name} "
            "rollback, which keeps it, and run it again.",
        )


def unlike_the_map(cursor: extensions.cursor, names: Names) -> tuple[int, list[str]]:
    """How many rows of the frozen table are not as the map knows them, or gone; a few of their keys, quoted."""
    cursor.execute(names.query("journal.unlike_the_map"))
    found = cursor.fetchall()
    return (found[0][0] if found else 0), [repr(key) for _, key in found[:_SHOWN]]


def require_frozen(cursor: extensions.cursor, located: Located) -> None:
    """Under the lock of the retirement. Raises Blocked where another table has the name, or it is not frozen."""
    names = located.names
    now = locate(cursor, names.move, names.schema, None)
    found = list(thawed(cursor, now))
    if now.facts.source is None or now.facts.source.oid != located.facts.source.oid:
        what = f"{located.facts.source.label} is not the table that this move has frozen."
        found = [Blocker(code="other_table", message=what, remedy="Give the name back to the table that is frozen.")]
    _refuse(found)


def require_as_frozen(cursor: extensions.cursor, located: Located) -> None:
    """Before that lock, because it reads every row. Raises Blocked where something was written since the switch."""
    _refuse(list(written_since(cursor, located)))


def _refuse(found: list[Blocker]) -> None:
    if found:
        raise Blocked(
            "The old table is not as the switch left it.",
            blockers=tuple(found),
            untouched="It stays where it is; the new table and its references are in force.",
            next_step="Then run the same command again.",
        )
