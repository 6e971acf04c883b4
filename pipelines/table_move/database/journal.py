"""What is committed about a move, in the schema `pipelines` of the target database."""

from __future__ import annotations

from psycopg2 import errors, extensions

from pipelines.table_move.database import run_journal
from pipelines.table_move.database.place import here, is_here
from pipelines.table_move.database.queries import query
from pipelines.table_move.errors import Blocked, Fenced
from pipelines.table_move.records import MoveRow
from pipelines.table_move.status import TRANSITIONS, Milestone, Phase

VERSION = "table move journal, version 3"


def exists(cursor: extensions.cursor) -> bool:
    """Whether the journal is there. Raises Blocked for a schema of that name that is not ours."""
    cursor.execute(query("journal.version"))
    row = cursor.fetchone()
    if row is None:
        return False
    if row[0] != VERSION:
        raise Blocked(
            "The schema `pipelines` of this database is not this version's journal.",
            untouched="Nothing was written.",
            next_step=f"Its comment should read {VERSION!r}. Rename the schema, or use the version that made it.",
        )
    return True


def create(cursor: extensions.cursor) -> None:
    """Make the journal, unless another move makes it just now."""
    cursor.execute("SAVEPOINT journal")
    try:
        cursor.execute(query("journal.create"))
    except (errors.DuplicateSchema, errors.UniqueViolation):
        cursor.execute("ROLLBACK TO SAVEPOINT journal")
        exists(cursor)  # of this version


def load(cursor: extensions.cursor, move: str) -> MoveRow | None:
    cursor.execute(query("journal.load"), {"move": move})
    row = cursor.fetchone()
    if row is None:
        return None
    restored = row[9] is not None and not is_here(cursor, row[9])
    return MoveRow(
        milestone=Milestone(row[0]),
        fence=row[1],
        source_oid=row[2],
        target_oid=row[3],
        mapping=row[4],
        default_owner=row[5],
        retired_schema=row[6],
        write_pause_ms=row[7],
        knows_versions=row[8] and not restored,
        is_restored=restored,
    )


def retired_schemas(cursor: extensions.cursor) -> set[str]:
    """The schemas of the retired tables of all moves."""
    cursor.execute(query("journal.retired_schemas"))
    return {schema for (schema,) in cursor}


def take_over(cursor: extensions.cursor, move: str, run_id: int, **identity: object) -> Milestone:
    """Make this run the only one that may write, and note that earlier silent ones were interrupted.

    Waits for the commit of whoever may write until then. Returns how far the move is committed after it.
    """
    values = {"move": move, "run_id": run_id, "place": here(cursor), **identity}
    cursor.execute(query("journal.take_over"), values)
    milestone = Milestone(cursor.fetchone()[0])
    run_journal.abandon(cursor, move, run_id)
    return milestone


def hold_fence(cursor: extensions.cursor, move: str, run_id: int) -> None:
    """In every writing transaction, before it writes. Raises Fenced where another run has taken over."""
    cursor.execute(query("journal.hold_fence"), {"move": move, "run_id": run_id})
    if cursor.fetchone() is None:
        raise Fenced(
            f"Another run took over from run {run_id} while this one was paused.",
            untouched="The open transaction was rolled back.",
            next_step="Nothing to do here: the other run goes on. `status` shows it.",
        )


def require(cursor: extensions.cursor, move: str, milestone: Milestone) -> None:
    """For what may be done only there, in a transaction that holds the fence. Raises Fenced elsewhere."""
    row = load(cursor, move)
    if row is None or row.milestone is not milestone:
        raise _elsewhere(f"The move does not stand at {milestone}.")


def reach(
    cursor: extensions.cursor,
    move: str,
    run_id: int,
    milestone: Milestone,
    *,
    retired_schema: str | None = None,
    write_pause_ms: float | None = None,
) -> None:
    """Move on to a milestone, in the transaction of the work it stands for."""
    values = {
        "move": move,
        "run_id": run_id,
        "milestone": milestone,
        "from": [start.value for start, end in TRANSITIONS if end == milestone and start is not None],
        "retired_schema": retired_schema,
        "write_pause_ms": write_pause_ms,
    }
    cursor.execute(query("journal.reach"), values)
    if cursor.rowcount != 1:
        raise _elsewhere(
            f"Run {run_id} may not move on to {milestone}: another run took over or the move stands elsewhere."
        )


def settled(cursor: extensions.cursor, move: str) -> int | None:
    """Up to which transaction everything is in target and map (see `versions`); None where nobody knows."""
    cursor.execute(query("journal.settled"), {"move": move})
    row = cursor.fetchone()
    return None if row is None else row[0]


def note_settled(cursor: extensions.cursor, move: str, run_id: int, settled: int) -> None:
    cursor.execute(query("journal.note_settled"), {"move": move, "run_id": run_id, "settled": settled})


def _elsewhere(happened: str) -> Fenced:
    return Fenced(
        happened,
        untouched="The open transaction was rolled back.",
        next_step="`status` shows where the move stands.",
    )


def note_pause(cursor: extensions.cursor, move: str, run_id: int, milliseconds: float) -> None:
    cursor.execute(query("journal.note_pause"), {"move": move, "run_id": run_id, "write_pause_ms": milliseconds})


def add_batch(
    cursor: extensions.cursor, move: str, run_id: int, *, phase: Phase, range_: str, filenode: int, rows: int
) -> None:
    values = {"move": move, "run_id": run_id, "phase": phase, "range": range_, "filenode": filenode, "rows": rows}
    cursor.execute(query("journal.add_batch"), values)


def committed_ranges(cursor: extensions.cursor, move: str, filenode: int) -> list[tuple[str, int]]:
    """The copied ranges of the source as it lies now, with the rows that each brought."""
    cursor.execute(query("journal.committed_ranges"), {"move": move, "filenode": filenode})
    return [(text, rows) for text, rows in cursor]
