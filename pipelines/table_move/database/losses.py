"""What became of target and references since they were loaded, and what of it has no place in the old world. One look,
read-only, for the dry run and, under the locks, for the way back itself."""

from __future__ import annotations

from psycopg2 import extensions, sql

from pipelines.table_move.database import journal
from pipelines.table_move.database.attempt import Attempt
from pipelines.table_move.database.back_names import BackNames
from pipelines.table_move.database.edits import other_columns, read_edits
from pipelines.table_move.pure.losses import Changed, Deleted, Since


def look_since(cursor: extensions.cursor, attempt: Attempt, back: BackNames) -> Since:
    """Before the switch only rows of ours can have been edited: the old world has lost nothing else."""
    cursor.execute("SET LOCAL enable_nestloop = off; SET LOCAL enable_mergejoin = off")
    cursor.execute(back.query("rollback.changed_rows"), {"switched": back.switched})
    changed = tuple(Changed(*row) for row in cursor)
    found = Since(
        changed=changed,
        unfit_references=_keys(cursor, back, "rollback.unfit_references") if back.names.references else (),
        referred=_keys(cursor, back, "rollback.referred_rows"),
    )
    if back.switched:
        cursor.execute(back.query("rollback.deleted_rows"))
        deleted = tuple(Deleted(*row) for row in cursor)
        knows = journal.load(cursor, back.names.key).knows_versions
        created = _keys(cursor, back, "rollback.created_rows", knows_versions=sql.Literal(knows))
        unfit = () if back.names.is_purged else _unfit(cursor, attempt, found)
        others = tuple(sorted(other_columns(cursor, attempt)))
        gone = _keys(cursor, back, "rollback.gone_columns", schema=sql.Literal(back.names.schema))
        more = {
            "deleted": deleted,
            "unfit": unfit,
            "other_columns": others,
            "gone_columns": gone,
            "created" if knows else "unknown": created,
        }
        found = Since(**{**found.__dict__, **more})
    cursor.execute("SET LOCAL enable_nestloop = on; SET LOCAL enable_mergejoin = on")
    return found


def _unfit(cursor: extensions.cursor, attempt: Attempt, found: Since) -> tuple[str, ...]:
    """The edits that have no place. Of a purged table this shows when it has been built again."""
    return tuple(edit.target_id for edit in read_edits(cursor, attempt, found.edits) if not edit.fits)


def _keys(cursor: extensions.cursor, back: BackNames, name: str, **more: sql.Composable) -> tuple[str, ...]:
    cursor.execute(back.query(name, **more))
    return tuple(key for (key,) in cursor)
