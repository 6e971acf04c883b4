"""The rows that a person has to look at, and their texts side by side. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from psycopg2 import extensions, sql

from pipelines.table_move.database.names import Names
from pipelines.table_move.status import ReferenceCounts


def rows_to_decide(
    cursor: extensions.cursor, names: Names, references: ReferenceCounts
) -> dict[str, dict[str, object]]:
    """What somebody has to look at, by kind: the true `total`, and the first 1000 `rows`. Keys and names; of texts
    length and hash.

    references: their counts; classes without any are not looked for.
    """
    classified = names.query("references.classified")
    questions = {
        "conflicts": _side_by_side(names, "census.conflicts"),
        "rejected": names.query("census.rejected"),
        "dangling": names.query("census.references_to_decide", classified=classified),
        "not_copied": names.query("census.references_to_decide", classified=classified),
        "foreign": names.query("census.references_to_decide", classified=classified),
        "kept": _side_by_side(names, "census.kept"),
        "unknown": names.query("census.unknown_rows"),
    }
    for kind in ("dangling", "not_copied", "foreign"):
        if not getattr(references, kind):
            del questions[kind]
    return {kind: _bounded(cursor, question, {"class": kind}) for kind, question in questions.items()}


def _side_by_side(names: Names, pairs: str) -> sql.Composable:
    def digest(alias: str, columns: Iterable[str]) -> sql.Composable:
        parts = [
            names.query("census.digest_of_one", label=sql.Literal(name), column=sql.Identifier(alias, name))
            for name in dict.fromkeys(columns)
        ]
        return names.query("census.digest", parts=sql.SQL(", ").join(parts or [sql.NULL]))

    carried = names.move.target.carried
    return names.query(
        "census.side_by_side",
        pairs=names.query(pairs),
        digest_of_s=digest("s", (source for _, source in carried)),
        digest_of_t=digest("t", (target for target, _ in carried)),
    )


def _bounded(cursor: extensions.cursor, question: sql.Composable, values: Mapping[str, str]) -> dict[str, object]:
    cursor.execute(question, values)
    names = [column.name for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor]
    total = rows[0]["total"] if rows else 0
    return {"total": total, "rows": [{name: row[name] for name in names if name != "total"} for row in rows]}


def contents(
    cursor: extensions.cursor, names: Names, pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[dict[str, str], dict[str, str]]]:
    """The carried texts of old rows and of the rows in their place, by (source id, target id)."""

    def texts(alias: str, columns: Iterable[str]) -> sql.Composable:
        parts = [
            sql.SQL("{}, {}::text").format(sql.Literal(name), sql.Identifier(alias, name))
            for name in dict.fromkeys(columns)
        ]
        return sql.SQL(", ").join(parts)

    question = names.query(
        "census.contents",
        of_source=texts("s", (source for _, source in names.move.target.carried)),
        of_target=texts("t", (target for target, _ in names.move.target.carried)),
    )
    cursor.execute(question, {"source_ids": [key for key, _ in pairs], "target_ids": [key for _, key in pairs]})
    return {(source, target): (old, new) for source, target, old, new in cursor}
