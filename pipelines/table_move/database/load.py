"""Writing a mapped batch: the fast way for rows that are new, the slow way for rows that may meet rows."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import pandas as pd
import pyarrow as pa
from psycopg2 import extensions, sql
from pyarrow import csv

from pipelines.table_move.database.connect import as_application
from pipelines.table_move.database.names import Names
from pipelines.table_move.pure.mapping import MappedRows

MAP_COLUMNS = ("source_id", "owner_id", "owner_rule", "target_id", "source_hash", "target_hash")


def insert(cursor: extensions.cursor, names: Names, rows: MappedRows, *, run_id: int) -> int:
    """COPY target and map rows that are all new. Raises UniqueViolation or ForeignKeyViolation where they are not."""
    target = ["target_id", "owner_id", *names.move.target.columns]
    pairs = rows.pairs.sort_values("target_id")  # neighbours in the index are written together
    as_application(cursor, names.schema)
    _copy_in(cursor, names.query("load.copy_target"), pairs[target])
    constants = {"move": names.key, "disposition": "inserted", "run_id": str(run_id)}
    _copy_in(cursor, names.query("load.copy_map"), pairs[list(MAP_COLUMNS)], constants)
    _reject(cursor, names, rows, run_id=run_id)
    return len(pairs)


def merge(cursor: extensions.cursor, names: Names, rows: MappedRows, *, run_id: int) -> int:
    """Bring target and map to what the rows say, whatever is there. Returns the target rows inserted or updated."""
    as_application(cursor, names.schema)
    source_ids = {"source_ids": pd.concat([rows.pairs["source_id"], rows.rejected["source_id"]]).unique().tolist()}
    cursor.execute(names.query("load.clear_rejected"), source_ids)
    cursor.execute(names.query("load.unload"), {"source_ids": rows.rejected["source_id"].unique().tolist()})
    cursor.execute(names.query("load.stage"))
    cursor.execute(names.query("load.stage_loaded"))
    columns = [*MAP_COLUMNS, *names.move.target.columns]
    _copy_in(cursor, names.query("load.copy_staged"), rows.pairs[columns])
    cursor.execute(names.query("load.insert_missing"))
    written = cursor.rowcount
    cursor.execute(names.query("load.update_changed"))
    written += cursor.rowcount
    cursor.execute(names.query("load.map_staged"), {"run_id": run_id})
    _reject(cursor, names, rows, run_id=run_id)
    cursor.execute("DROP TABLE pg_temp.staged, pg_temp.loaded")
    return written


def _reject(cursor: extensions.cursor, names: Names, rows: MappedRows, *, run_id: int) -> None:
    if len(rows.rejected):
        constants = {"move": names.key, "run_id": str(run_id)}
        _copy_in(cursor, names.query("load.copy_rejected"), rows.rejected, constants)


def _copy_in(
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
    csv.write_csv(pa.table(arrays), text, csv.WriteOptions(include_header=False, quoting_style="needed"))
    text.seek(0)
    cursor.copy_expert(statement, text)
