"""Counting: what a move would do, and what it has done. Reads only."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2 import extensions, sql

from pipelines.table_move.database.names import Names
from pipelines.table_move.pure.preflight import Facts
from pipelines.table_move.status import Counts, ReferenceCounts


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a run would meet. `unclaimed`: rows that nobody refers to, which need a default owner."""

    source_rows: int
    claimed: int
    copies: int
    references: ReferenceCounts

    @property
    def unclaimed(self) -> int:
        return self.source_rows - self.claimed


def predict(cursor: extensions.cursor, names: Names) -> Prediction:
    """Count rows, owners and references of a move that has not been made."""
    if not names.references:
        return Prediction(source_rows=source_rows(cursor, names), claimed=0, copies=0, references=ReferenceCounts())
    cursor.execute(names.query("census.owners"))
    rows, claimed, copies = cursor.fetchone()
    cursor.execute(names.query("census.references"))
    return Prediction(
        source_rows=rows, claimed=claimed, copies=int(copies), references=ReferenceCounts(**dict(cursor.fetchall()))
    )


def rows_without_owner(cursor: extensions.cursor, names: Names) -> list[str]:
    """Keys of a few rows that nobody refers to."""
    if not names.references:
        return []
    cursor.execute(names.query("census.without_owner"))
    return [key for (key,) in cursor]


def find_owner(cursor: extensions.cursor, names: Names, given: str) -> list[str]:
    """The owners with this id or label; the caller decides what none or several mean."""
    cursor.execute(names.query("catalog.default_owner_by_name"), {"given": given})
    return [owner for (owner,) in cursor]


def only_owner(cursor: extensions.cursor, names: Names) -> str | None:
    """The owner, if there is just one."""
    cursor.execute(names.query("catalog.only_owner"))
    found = cursor.fetchall()
    return found[0][0] if len(found) == 1 else None


def source_rows(cursor: extensions.cursor, names: Names) -> int:
    """The rows of the old table, counted."""
    cursor.execute(names.query("census.source_rows"))
    return cursor.fetchone()[0]


def counts(cursor: extensions.cursor, names: Names) -> Counts:
    """The balance as it stands: the source counted, the rest by the map."""
    rows = source_rows(cursor, names)
    cursor.execute(names.query("census.counts"))
    copies, inserted, present, adopted, conflicts, rejected = map(int, cursor.fetchone())
    return Counts(
        source_rows=rows,
        fan_out_copies=copies,
        inserted=inserted,
        already_present=present,
        adopted=adopted,
        conflicts=conflicts,
        rejected=rejected,
    )


def reference_counts(cursor: extensions.cursor, names: Names) -> ReferenceCounts:
    """Every reference by class, as it stands, and how many the move has changed."""
    if not names.references:
        return ReferenceCounts()
    cursor.execute(names.query("census.reference_counts", classified=names.query("references.classified")))
    classes = dict(cursor.fetchall())
    cursor.execute(names.query("census.rewired"))
    rewired = cursor.fetchone()[0]
    # A rewired reference is current now; it is counted once, as rewired.
    current = max(classes.pop("already_current", 0) - rewired, 0)
    return ReferenceCounts(**classes, rewired=rewired, already_current=current)


def owner_counts(cursor: extensions.cursor, names: Names) -> list[dict[str, object]]:
    """Rows per owner and rule."""
    cursor.execute(names.query("census.owner_counts"))
    return [
        {"owner_id": owner, "owner": label, "rule": rule, "rows": rows}
        for owner, label, rule, rows in cursor.fetchall()
    ]


def not_carried(cursor: extensions.cursor, names: Names, facts: Facts) -> list[dict[str, object]]:
    """Columns without a place in the target, and how many rows have something in them."""
    found = []
    for column in names.move.source.not_carried:
        if facts.source is not None and column in facts.source.columns:
            cursor.execute(names.query("census.not_carried", column=sql.Identifier(column)))
            found.append({"column": column, "rows": cursor.fetchone()[0]})
    return found
