"""The rows that the suites look at: one named query per subject, wherever the tables are and how far the move is."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2 import sql

from pipelines.table_move.database.names import Names, as_text
from pipelines.table_move.database.queries import query, read_queries


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far the move is, as the subjects need to know it.

    settled_until: writers are at work; rows that may have been written since (see `versions`) are left to the switch.
    touched: writers are excluded; only the rows in `pipelines.touched`, which is everything that was left.
    switched: the references have been rewired and the new table is in charge: what tenants change there is their own
        affair. That nothing was lost before is proven under the locks of the switch.
    following: references that are written late, with old ids, will still follow.
    settled: the move is done.
    """

    settled_until: int | None = None
    touched: bool = False
    switched: bool = False
    following: bool = False
    settled: bool = False
    dangling_allowed: bool = False


def subject_query(names: Names, subject: str, standing: Standing) -> sql.Composable:
    """The rows that a suite looks at, with fixed columns, wherever the tables are."""
    more = {
        "settled": sql.Literal(standing.settled),
        "switched": sql.Literal(standing.switched),
        "following": sql.Literal(standing.following),
        "dangling_allowed": sql.Literal(standing.dangling_allowed),
        "source_matters": sql.Literal(standing.settled_until is not None),
        **_in_question(names, subject, standing),
    }
    if subject == "source":
        more["groups"] = query("references.groups")
        more["verdicts"] = _declared(names)
    if subject == "references":
        more["classified"] = names.query("references.classified")
    if subject == "target":
        more["carried"] = _carried(names, more["switched"])
        more["target_columns_unswitched"] = _until_switched(names, more["switched"])
        more["has_claims"] = names.query("copy.has_claims")
    if subject == "reconciliation":
        more["retired"] = sql.Literal(names.source_schema != names.schema)
        more["old_schema"], more["old_table"] = sql.Literal(names.schema), sql.Literal(names.move.source.table)
    return names.query(f"subjects.{subject}", **more)


def _in_question(names: Names, subject: str, standing: Standing) -> dict[str, sql.Composable]:
    """Which rows of source, map, rejects and references are looked at."""
    ids = {"s": names.source_id, "m": sql.SQL("m.source_id"), "r": sql.SQL("r.source_id"), "c": sql.SQL("c.value")}
    if standing.touched:
        return {f"{alias}_in_question": names.touched(source_id) for alias, source_id in ids.items()}
    if standing.settled_until is None or subject == "source":
        return {f"{alias}_in_question": names.everything for alias in ids}

    def is_old(alias: str) -> sql.Composable:
        return sql.SQL("NOT {}").format(names.is_new(alias, standing.settled_until))

    of_source = is_old("s")
    of_both = sql.SQL("{} AND {} IS NOT FALSE").format(of_source, is_old("t"))
    return {
        "s_in_question": of_source,
        "m_in_question": of_both if subject == "target" else of_source,
        "r_in_question": of_source,
        "c_in_question": sql.SQL("{} AND {}").format(
            is_old("c"), names.query("subjects.is_not_in_flight", s_is_new=names.is_new("s", standing.settled_until))
        ),
    }


def _carried(names: Names, switched: sql.Composable) -> sql.Composable:
    """A verdict per carried column, `COLUMN_is_carried`, each with a comma behind it.

    Compared as text, byte for byte: jsonb finds 1.0 equal to 1.00, json nothing equal to anything, and NULL is carried
    too. A row that the map knows as a conflict is told as one, and not twice.
    """
    verdict = sql.SQL(
        "{switched} OR t.{key} IS NULL OR s.{source_key} IS NULL OR m.kept_target OR m.disposition = 'conflict'"
        ' OR t.{a}::text COLLATE "C" IS NOT DISTINCT FROM s.{b}::text COLLATE "C" AS {name}, '
    )
    return sql.Composed(
        verdict.format(
            switched=switched,
            key=sql.Identifier(names.move.target.key),
            source_key=sql.Identifier(names.move.source.key),
            a=sql.Identifier(target),
            b=sql.Identifier(source),
            name=sql.Identifier(f"{target}_is_carried"),
        )
        for target, source in names.move.target.carried
    )


def _declared(names: Names) -> sql.Composable:
    """The verdicts that the move itself declares on its source rows, each with a comma behind it."""
    verdicts = names.move.source.verdicts
    declared = {} if verdicts is None else read_queries(verdicts)
    return sql.Composed(
        sql.SQL("({}) IS NOT FALSE AS {}, ").format(sql.SQL(text), sql.Identifier(name))
        for name, text in declared.items()
    )


def _until_switched(names: Names, switched: sql.Composable) -> sql.Composable:
    """The written columns; once the new table is in charge they are the tenants' own affair, and read as missing."""
    return sql.SQL(", ").join(
        sql.SQL("CASE WHEN NOT {} THEN {} END AS {}").format(switched, as_text("t", name), sql.Identifier(name))
        for name in names.move.target.columns
    )
