"""Writing a mapped batch: the fast way for rows that are new, the slow way for rows that may meet rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

import pandas as pd
import pyarrow as pa
from psycopg2 import Error, extensions, sql
from pyarrow import csv

from pipelines.table_move.database.asked import require_as_asked, require_count, require_no_more
from pipelines.table_move.database.connect import as_application
from pipelines.table_move.database.hold import Hold
from pipelines.table_move.database.names import Names
from pipelines.table_move.database.server_error import ServerError
from pipelines.table_move.pure.mapping import TEXT, MappedRows

MAP_COLUMNS = ("source_id", "owner_id", "owner_rule", "target_id", "source_hash", "target_hash")


def stage(cursor: extensions.cursor, names: Names, rows: MappedRows) -> None:
    """What is to be written travels first, into tables of the session's own. A server that waits for the rest of a COPY
    is ended by no timeout, so nothing travels once others may have to wait for this transaction."""
    cursor.execute(names.query("load.stage"))
    pairs = rows.pairs.sort_values("target_id")  # neighbours in the index are written together
    copy_in(cursor, names.query("load.copy_staged"), pairs[[*MAP_COLUMNS, *names.move.target.columns]])
    cursor.execute(names.query("load.stage_rejected"))
    if len(rows.rejected):
        copy_in(cursor, names.query("load.copy_rejected"), rows.rejected)


def insert(hold: Hold, names: Names, rows: MappedRows, *, run_id: int) -> int:
    """Staged rows that are all new, and their map. Raises UniqueViolation or ForeignKeyViolation where they are not,
    NotAsAsked where they do not stand in the target afterwards as they were written."""
    with require_no_more(hold.cursor, names.target, "INSERT"), as_application(hold.cursor, names.schema):
        hold.execute(names.query("application.insert_new"))
    written = hold.cursor.rowcount
    require_count(hold.cursor, names.target, "INSERT", asked=len(rows.pairs), got=written)
    hold.cursor.execute(names.query("load.map_new"), {"run_id": run_id})
    asked = {"target_ids": rows.pairs["target_id"].tolist()}
    require_as_asked(hold.cursor, names.target, "INSERT", names.query("asked.inserted"), asked)
    hold.cursor.execute(names.query("load.reject"), {"run_id": run_id})
    return written


def merge(hold: Hold, names: Names, rows: MappedRows, *, run_id: int, keep_target: bool) -> int:
    """Bring target and map to what the staged rows say, whatever is there. Returns the target rows inserted or updated.

    Raises what the database says of a row that it does not take, NotAsAsked where rows are kept or changed.
    """
    cursor = hold.cursor
    cursor.execute(names.query("load.clear_rejected"), {"source_ids": rows.source_ids})
    hold.execute(names.query("load.reopen"), {"source_ids": rows.source_ids})
    delete(hold, names, cursor.fetchall())
    cursor.execute(names.query("load.unload"), {"source_ids": rows.rejected["source_id"].unique().tolist()})
    delete(hold, names, cursor.fetchall())
    cursor.execute(names.query("load.stage_loaded"))
    with require_no_more(cursor, names.target, "INSERT"), as_application(cursor, names.schema):
        hold.execute(names.query("application.insert_missing"))
    written = cursor.rowcount
    require_as_asked(cursor, names.target, "INSERT", names.query("asked.merged"), {"changed": []})
    hold.execute(names.query("load.changed"))
    written += update(hold, names, cursor.fetchall())
    cursor.execute(names.query("load.map_staged"), {"run_id": run_id, "keep_target": keep_target})
    cursor.execute(names.query("load.reject"), {"run_id": run_id})
    return written


def delete(hold: Hold, names: Names, keys: Sequence[tuple[str]]) -> int:
    """Target rows that have to go, by their keys. Returns how many went. Raises NotAsAsked where some are kept."""
    if not keys:
        return 0
    asked = {"target_ids": [key for (key,) in keys]}
    with require_no_more(hold.cursor, names.target, "DELETE"), as_application(hold.cursor, names.schema):
        hold.execute(names.query("application.delete"), asked)
    deleted = hold.cursor.rowcount
    require_as_asked(hold.cursor, names.target, "DELETE", names.query("asked.deleted"), asked)
    return deleted


def update(hold: Hold, names: Names, keys: Sequence[tuple[str]]) -> int:
    """Target rows that become what is staged for them, by their keys. Returns how many did. Raises NotAsAsked where
    some are kept or changed."""
    if not keys:
        return 0
    asked = [key for (key,) in keys]
    with require_no_more(hold.cursor, names.target, "UPDATE"), as_application(hold.cursor, names.schema):
        hold.execute(names.query("application.update_changed"), {"target_ids": asked})
    updated = hold.cursor.rowcount
    require_as_asked(hold.cursor, names.target, "UPDATE", names.query("asked.merged"), {"changed": asked})
    return updated


def rejected_by_database(rows: MappedRows, problem: Error) -> MappedRows:
    """The one source row, and why the database does not take it."""
    said = {"reason": "refused_by_database", "detail": str(ServerError.of(problem))}
    rejected = rows.pairs[["source_id", "owner_id", "owner_rule"]].assign(**said).astype(TEXT)
    return MappedRows(pairs=rows.pairs.iloc[:0], rejected=pd.concat([rows.rejected, rejected], ignore_index=True))


def copy_in(
    cursor: extensions.cursor,
    statement: sql.Composable,
    frame: pd.DataFrame,
    constants: Mapping[str, str] | None = None,
) -> None:
    arrays = {name: pa.array(frame[name]) for name in frame.columns}
    for name, value in (constants or {}).items():
        arrays[name] = pa.repeat(pa.scalar(value), len(frame))
    text = BytesIO()
    # Strings are quoted and NULL is not, so that an empty text and NULL stay apart.
    # In one chunk: after an empty one, pyarrow's writer puts out zero bytes.
    whole = pa.table(arrays).combine_chunks()
    csv.write_csv(whole, text, csv.WriteOptions(include_header=False, quoting_style="needed"))
    text.seek(0)
    cursor.copy_expert(statement, text)
