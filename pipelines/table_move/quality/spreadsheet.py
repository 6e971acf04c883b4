"""Rows to decide on as CSV that is safe to open in a spreadsheet: a cell never becomes a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO

from pipelines.table_move.pure.shown import shown

_FORMULA = "=+-@＝＋－＠\t\r\n"


def safe(value: object) -> str:
    """The text of a cell, in one line. What a spreadsheet could take for a formula, also behind blanks, gets an
    apostrophe."""
    text = "" if value is None else str(value)
    formula = text[:1] in tuple(_FORMULA) or text.lstrip()[:1] in tuple(_FORMULA)
    return f"'{shown(text)}" if formula else shown(text)


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """With a byte order mark, so that spreadsheets read it as UTF-8, and every cell quoted."""
    out = StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([safe(row.get(column)) for column in columns] for row in rows)
    return "\ufeff" + out.getvalue()
