"""Writing a mapped batch: the fast way for rows that are new, the slow way for rows that may meet rows."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import pandas as pd
import pyarrow as pa
from psycopg2 import DataError, Error, IntegrityError, errors, extensions, sql
from pyarrow import csv

from pipelines.table_move.database.connect import as_application
from pipelines.table_move.database.names import Names
from pipelines.table_move.pure.mapping import TEXT, MappedRows

# A row that the database will not take, whatever is tried: constraints, domains, triggers of the installation's own.
REFUSED = (IntegrityError, DataError, errors.RaiseException)

MAP_COLUMNS = ("source_id", "owner_id", "owner_rule", "target_id", "source_hash", "target_hash")


def insert(cursor: extensions.cursor, names: Names, rows: MappedRows, *, run_id: int) -> int:
    """COPY target and map rows that are all new. Raises UniqueViolation or ForeignKeyViolation where they are not."""
    owner = ["owner_id"] if names.move.target.owner is not None else []
    target = ["target_id", *owner, *names.move.target.columns]
    pairs = rows.pairs.sort_values("target_id")  # neighbours in the index are written together
    as_application(cursor, names.schema)
    copy_in(cursor, names.query("load.copy_target"), pairs[target])
    constants = {"move": names.key, "disposition": "inserted", "run_id": str(run_id)}
    copy_in(cursor, names.query("load.copy_map"), pairs[list(MAP_COLUMNS)], constants)
    _reject(cursor, names, rows, run_id=run_id)
    return len(pairs)


def merge(cursor: extensions.cursor, names: Names, rows: MappedRows, *, run_id: int, keep_target: bool) -> int:
    """Bring target and map to what the rows say, whatever is there. Rows that the database refuses are rejected.

    Returns the target rows inserted or updated.
    """
    cursor.execute("SAVEPOINT merge")
    try:
        written = _merge(cursor, names, rows, run_id=run_id, keep_target=keep_target)
    except REFUSED as problem:
        cursor.execute("ROLLBACK TO SAVEPOINT merge")
        source_ids = rows.pairs["source_id"].unique()
        if len(source_ids) == 1:
            return _merge(cursor, names, _refused(rows, problem), run_id=run_id, keep_target=keep_target)
        first = source_ids[: len(source_ids) // 2]
        halves = (rows.only(first, without=False), rows.only(first, without=True))
        return sum(merge(cursor, names, half, run_id=run_id, keep_target=keep_target) for half in halves)
    cursor.execute("RELEASE SAVEPOINT merge")
    return written


def _refused(rows: MappedRows, problem: Error) -> MappedRows:
    """What the database said of the one source row, without its data."""
    constraint = f", constraint {problem.diag.constraint_name}" if problem.diag.constraint_name else ""
    said = {"reason": "refused_by_database", "detail": f"SQLSTATE {problem.pgcode}{constraint}"}
    rejected = rows.pairs[["source_id", "owner_id", "owner_rule"]].assign(**said).astype(TEXT)
    return MappedRows(pairs=rows.pairs.iloc[:0], rejected=pd.concat([rows.rejected, rejected], ignore_index=True))


def _merge(cursor: extensions.cursor, names: Names, rows: MappedRows, *, run_id: int, keep_target: bool) -> int:
    as_application(cursor, names.schema)
    source_ids = {"source_ids": pd.concat([rows.pairs["source_id"], rows.rejected["source_id"]]).unique().tolist()}
    cursor.execute(names.query("load.clear_rejected"), source_ids)
    cursor.execute(names.query("load.reopen"), source_ids)
    cursor.execute(names.query("load.unload"), {"source_ids": rows.rejected["source_id"].unique().tolist()})
    cursor.execute(names.query("load.stage"))
    cursor.execute(names.query("load.stage_loaded"))
    columns = [*MAP_COLUMNS, *names.move.target.columns]
    copy_in(cursor, names.query("load.copy_staged"), rows.pairs[columns])
    cursor.execute(names.query("load.insert_missing"))
    written = cursor.rowcount
    cursor.execute(names.query("load.update_changed"))
    written += cursor.rowcount
    cursor.execute(names.query("load.map_staged"), {"run_id": run_id, "keep_target": keep_target})
    _reject(cursor, names, rows, run_id=run_id)
    cursor.execute("DROP TABLE pg_temp.staged, pg_temp.loaded")
    return written


def _reject(cursor: extensions.cursor, names: Names, rows: MappedRows, *, run_id: int) -> None:
    if len(rows.rejected):
        constants = {"move": names.key, "run_id": str(run_id)}
        copy_in(cursor, names.query("load.copy_rejected"), rows.rejected, constants)


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
