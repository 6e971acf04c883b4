"""Reading the source: COPY out of a range of the heap, in physical order, into an Arrow-backed frame."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import pandas as pd
import pyarrow as pa
from psycopg2 import extensions, sql
from pyarrow import csv

from pipelines.table_move.database.names import Names
from pipelines.table_move.pure.ranges import Place, Range


def in_range(part: Range) -> sql.Composable:
    """The rows of a range of the heap."""
    low = sql.SQL("s.ctid >= {}::tid").format(sql.Literal(str(part.start)))
    if part.end is None:
        return low
    return sql.SQL("{} AND s.ctid < {}::tid").format(low, sql.Literal(str(part.end)))


def at_places(places: Sequence[Place]) -> sql.Composable:
    """The rows at these places."""
    return sql.SQL("s.ctid = ANY ({}::tid[])").format(sql.Literal([str(place) for place in places]))


def read_rows(
    cursor: extensions.cursor, names: Names, selected: sql.Composable, *, with_map: bool, with_assigned: bool = True
) -> pd.DataFrame:
    """Source rows with what decides about their owners (see `pure.ownership`).

    with_assigned: also the owners that a person has named.
    with_map: also what map and target have already, and without claims of owners that are gone.
    Returns Arrow strings: source_id, the source's columns, source_hash, claims, assigned, decided, present.
    """
    statement = names.query(
        "copy.read",
        selected=selected,
        assigned=names.query("copy.assigned") if with_assigned else sql.SQL("NULL"),
        decided=names.query("copy.decided") if with_map else sql.SQL("NULL"),
        present=names.query("copy.present") if with_map else sql.SQL("NULL"),
        claim_filter=names.query("copy.claimant_exists") if with_map else sql.SQL("true"),
    )
    columns = ["source_id", *names.move.source.columns, "source_hash", "claims", "assigned", "decided", "present"]
    return _copy_out(cursor, statement, columns)


def _copy_out(cursor: extensions.cursor, statement: sql.Composable, columns: Sequence[str]) -> pd.DataFrame:
    text = BytesIO()
    # Every value but NULL is quoted, so that an empty text and NULL stay apart.
    whole = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)").format(
        sql.SQL(statement.as_string(cursor).rstrip(";"))
    )
    cursor.copy_expert(whole, text)
    return _parse(text.getbuffer(), columns)


def _parse(text: memoryview, columns: Sequence[str]) -> pd.DataFrame:
    if not len(text):
        return pd.DataFrame({name: pd.Series([], dtype=pd.ArrowDtype(pa.string())) for name in columns})
    table = csv.read_csv(
        pa.BufferReader(pa.py_buffer(text)),
        # One block: a value may be as long as the batch. One thread: the workers are the parallelism.
        read_options=csv.ReadOptions(column_names=list(columns), block_size=len(text) + 1, use_threads=False),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),  # ids such as 007, 1e5 and NaN stay text
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )
    return table.to_pandas(types_mapper=pd.ArrowDtype)
