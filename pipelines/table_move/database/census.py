"""Counting: what a move would do, and what it has done. Reads only."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg2 import extensions, sql

from pipelines.table_move.database.names import Names
from pipelines.table_move.pure.facts import Facts
from pipelines.table_move.status import Counts, ReferenceCounts


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a plan supposes: the default owner, the owners that a person names (None: those of an earlier call, if any),
    and whether rows of the target stay as they are."""

    default_owner: str | None
    assigned: Mapping[str, str] | None
    has_journal: bool
    keep_target: bool

    def assigned_in(self, names: Names) -> sql.Composable:
        """Rows of source_id and owner_id."""
        if self.assigned is not None:
            return names.query("census.assigned_now")
        return names.query("census.assigned_before" if self.has_journal else "census.assigned_never")

    @property
    def values(self) -> dict[str, object]:
        """What is bound in the queries that ask it."""
        supposed = {"default_owner": self.default_owner, "keep_target": self.keep_target}
        return {**supposed, **assigned_values(self.assigned or {})}


def assigned_values(assigned: Mapping[str, str]) -> dict[str, list[str]]:
    """Owners by source id, as `census.assigned_now` takes them."""
    return {"assigned_ids": list(assigned), "assigned_owners": list(assigned.values())}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a run would meet. `unowned`: rows that no rule gives an owner. `rules`: rows by the rule that names their
    primary owner, and the copies for other owners. `seconds`: how long the look took."""

    counts: Counts
    unowned: int
    rules: Mapping[str, int]
    references: ReferenceCounts
    seconds: float


def predict(cursor: extensions.cursor, names: Names, question: Question) -> Prediction:
    """Count rows, owners, dispositions and references of a move that has not been made."""
    cursor.execute(names.query("adoption.target_has_rows"))
    more = {"assigned": question.assigned_in(names), "target_has_rows": sql.Literal(cursor.fetchone()[0])}
    predicted = names.query("census.predicted", **more)
    # The predicted rows have no statistics: a nested loop over whole tables would be planned for a few of them.
    cursor.execute("SET LOCAL enable_nestloop = off; SET LOCAL enable_mergejoin = off")
    started = time.monotonic()
    cursor.execute(names.query("census.outlook", predicted=predicted, **more), question.values)
    seconds = time.monotonic() - started
    rows, copies, unowned, present, conflicts, adopted, rules, classes = cursor.fetchone()
    references = ReferenceCounts(**(classes or {}))
    cursor.execute("SET LOCAL enable_nestloop = on; SET LOCAL enable_mergejoin = on")
    counts = Counts(
        source_rows=rows,
        fan_out_copies=copies,
        inserted=rows + copies - present - conflicts - adopted,
        already_present=present,
        adopted=adopted,
        conflicts=conflicts,
    )
    named = {**(rules or {}), **({"copy": copies} if copies else {})}
    return Prediction(counts=counts, unowned=unowned, rules=named, references=references, seconds=seconds)


def rows_without_owner(cursor: extensions.cursor, names: Names, question: Question) -> list[str]:
    """Keys of a few rows that no rule gives an owner."""
    predicted = names.query(
        "census.predicted", assigned=question.assigned_in(names), target_has_rows=sql.Literal(False)
    )
    cursor.execute(names.query("census.without_owner", predicted=predicted), question.values)
    return [key for (key,) in cursor]


def unknown_in_owners_file(cursor: extensions.cursor, names: Names, question: Question) -> list[tuple[str, str, bool]]:
    """A few lines of the file that name what is not there: source id, owner, whether it is the row that is unknown."""
    unknown = names.query("census.unknown_in_owners_file", assigned=question.assigned_in(names))
    cursor.execute(unknown, question.values)
    return cursor.fetchall()


@dataclass(frozen=True, kw_only=True)
class Decided:
    """Rows whose owner is decided, and not as this call says: how many, and a few of them with their owners."""

    rows: int
    examples: tuple[tuple[str, str], ...]


def decided_otherwise(
    cursor: extensions.cursor, names: Names, question: Question, *, default_was_given: bool
) -> dict[str, Decided]:
    """By the part of this call that would have decided otherwise: `default` or `file`."""
    conditions = {}
    if default_was_given:
        conditions["default"] = names.query("census.not_the_default")
    if question.assigned is not None:
        conditions["file"] = names.query("census.not_as_in_the_file", assigned=question.assigned_in(names))
    found = {}
    for part, otherwise in conditions.items():
        asked = names.query("census.decided_otherwise", decided=names.query("census.decided"), otherwise=otherwise)
        cursor.execute(asked, question.values)
        if rows := cursor.fetchall():
            found[part] = Decided(rows=rows[0][0], examples=tuple((key, owner) for _, key, owner in rows))
    return found


def ambiguous_ids(cursor: extensions.cursor, names: Names) -> list[tuple[str, str]]:
    """Pairs of source ids that a uuid column cannot tell apart."""
    if not names.matched_by_value:
        return []
    cursor.execute(names.query("census.ambiguous_ids"))
    return cursor.fetchall()


def owner_candidates(cursor: extensions.cursor, names: Names) -> list[str]:
    """Labels of a few owners, those that refer most often first."""
    cursor.execute(names.query("census.owner_candidates"))
    return [label for (label,) in cursor]


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
    cursor.execute(names.query("census.reference_counts", classified=names.query("references.classified")))
    return _with_rewired(cursor, names, dict(cursor.fetchall()))


def references_in_detail(
    cursor: extensions.cursor, names: Names
) -> tuple[ReferenceCounts, list[dict[str, object]], dict[str, dict[str, int]]]:
    """The same counts; by column, a line each; and by owner, class to count."""
    cursor.execute(names.query("census.references_in_detail", classified=names.query("references.classified")))
    classes: Counter[str] = Counter()
    columns: dict[tuple[str, str], Counter[str]] = {}
    owners: dict[str, Counter[str]] = {}
    for table, column, owner, class_, rows in cursor.fetchall():
        classes["already_current" if class_ == "rewired" else class_] += rows
        columns.setdefault((table, column), Counter())[class_] += rows
        if owner is not None:
            owners.setdefault(owner, Counter())[class_] += rows
    lines = [{"table": table, "column": column, **dict(found)} for (table, column), found in columns.items()]
    return _with_rewired(cursor, names, dict(classes)), lines, {owner: dict(found) for owner, found in owners.items()}


def _with_rewired(cursor: extensions.cursor, names: Names, classes: dict[str, int]) -> ReferenceCounts:
    """A rewired reference is current now; it is counted once, as rewired."""
    cursor.execute(names.query("census.rewired"))
    rewired = cursor.fetchone()[0]
    current = max(classes.pop("already_current", 0) - rewired, 0)
    return ReferenceCounts(**classes, rewired=rewired, already_current=current)


def owner_counts(cursor: extensions.cursor, names: Names) -> list[dict[str, object]]:
    """Rows per owner, rule and disposition."""
    cursor.execute(names.query("census.owner_counts"))
    return [
        {"owner_id": owner, "owner": label, "rule": rule, "disposition": disposition, "rows": rows}
        for owner, label, rule, disposition, rows in cursor.fetchall()
    ]


def not_carried(cursor: extensions.cursor, names: Names, facts: Facts) -> list[dict[str, object]]:
    """Columns without a place in the target, and how many rows have something in them."""
    found = []
    for column in names.move.source.not_carried:
        if facts.source is not None and column in facts.source.columns:
            cursor.execute(names.query("census.not_carried", column=sql.Identifier(column)))
            found.append({"column": column, "rows": cursor.fetchone()[0]})
    return found
