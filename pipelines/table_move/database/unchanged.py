"""The proof that the tables are what they were at the first look: row versions do not show what DDL does."""

from __future__ import annotations

from psycopg2 import extensions

from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.catalog import locate
from pipelines.table_move.errors import Blocked
from pipelines.table_move.pure.definition import differences
from pipelines.table_move.status import Milestone

_OLD_WORLD = "No reference was changed; the old table serves reads and writes as before."
_LATER = "What was committed stays; `status` shows where the move stands."


def require_unchanged(cursor: extensions.cursor, attempt: Attempt) -> None:
    """Raises Blocked, naming what has changed since the attempt began. Holds for as long as the tables are locked."""
    names = attempt.names
    row = journal.load(cursor, names.key)
    now = locate(cursor, names.move, names.schema, row)
    if found := differences(attempt.located.definition, now.definition):
        raise Blocked(
            f"The tables were changed while the move was at work: {'; '.join(found)}.",
            untouched=_OLD_WORLD if row is not None and row.milestone is Milestone.COPYING else _LATER,
            next_step="If that was not meant, put it back. Then run the same command again: it looks at everything "
            "anew.",
        )
