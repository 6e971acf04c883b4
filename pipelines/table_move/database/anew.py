"""A move that was taken back begins anew: the journal forgets it, but for its attempts and the owners that a person has
named."""

from __future__ import annotations

from psycopg2 import extensions, sql

from pipelines.table_move.database.place import here
from pipelines.table_move.database.queries import query
from pipelines.table_move.errors import Fenced
from pipelines.table_move.status import Milestone

_FORGOTTEN = (
    "id_map",
    "batch",
    "rejected",
    "reference_change",
    "kept_reference",
    "retired_table",
    "candidate",
    "claim",
    "touched",
)


def begin_anew(cursor: extensions.cursor, move: str, run_id: int, **identity: object) -> None:
    """In the transaction in which the attempt takes over. identity: the tables and the mapping as they are now."""
    values = {"move": move, "run_id": run_id, "milestone": Milestone.COPYING, "from": [Milestone.ROLLED_BACK.value]}
    cursor.execute(query("rollback.begin_anew"), {**values, "place": here(cursor), **identity})
    if cursor.rowcount != 1:
        raise Fenced(
            f"Run {run_id} may not begin the move anew: another run took over.",
            untouched="The open transaction was rolled back.",
            next_step="`status` shows where the move stands.",
        )
    for table in _FORGOTTEN:
        cursor.execute(query("rollback.forget", table=sql.Identifier("pipelines", table)), {"move": move})
