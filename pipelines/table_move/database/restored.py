"""A journal that was restored, cloned or carried to another server: proven by what the tables hold, then at home."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg2 import extensions

from pipelines.table_move.database import place
from pipelines.table_move.database.catalog import Located
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.frozen import unlike_the_map
from pipelines.table_move.database.queries import query
from pipelines.table_move.errors import Blocker
from pipelines.table_move.records import MoveRow
from pipelines.table_move.status import Milestone

_FROZEN = (Milestone.SWITCHED, Milestone.RETIRED, Milestone.CONFIRMED)


def unproven(cursor: extensions.cursor, located: Located, row: MoveRow) -> Iterator[Blocker]:
    """What does not fit a restored journal. Before the switch there is nothing to prove: a run looks at every row anew,
    and the way back removes only what is as it was loaded."""
    if not row.is_restored:
        return
    facts, names = located.facts, located.names
    if row.milestone in _FROZEN and facts.source is None:
        yield _incomplete(located, row, f"has no {names.source_schema}.{names.move.source.table}")
    elif row.milestone in _FROZEN:
        count, keys = unlike_the_map(cursor, names)
        if count:
            rows = "1 row" if count == 1 else f"{count:,} rows"
            what = f"has {rows} in {facts.source.label} that are not as it knows them: {', '.join(keys)}"
            yield _incomplete(located, row, what)
    if row.milestone in (*_FROZEN, Milestone.PURGED) and facts.target is not None:
        cursor.execute(names.query("journal.target_is_known"))
        if not cursor.fetchone()[0]:
            yield _incomplete(located, row, f"has none of the rows that it moved in {facts.target.label}")


def _incomplete(located: Located, row: MoveRow, what: str) -> Blocker:
    schemas = [located.names.schema, "pipelines", *([row.retired_schema] if row.retired_schema else [])]
    return Blocker(
        code="not_as_restored",
        message=f"The journal was restored into this database, which {what}.",
        remedy=f"Restore the schemas {', '.join(schemas)}, whole, from one dump; then run the same command again.",
    )


def settle_in(database: Database, located: Located, row: MoveRow | None, *, patience: float) -> None:
    """Take the tables that stand here for those of the journal, once they are proven, in a transaction of its own;
    numbers of tables, files and transactions of the old place are forgotten. Does nothing where the journal is at home.
    """
    if row is None or not row.is_restored:
        return
    facts = located.facts
    with database.writing(patience=patience) as cursor:
        values = {
            "move": located.names.key,
            "schema": located.names.schema,
            "milestone": row.milestone,
            "place": place.here(cursor),
            "source_oid": None if facts.source is None else facts.source.oid,
            "target_oid": None if facts.target is None else facts.target.oid,
        }
        cursor.execute(query("journal.settle_in"), values)
