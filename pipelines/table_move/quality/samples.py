"""Keys of the rows that fail, for the list of rows to decide on; never their texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2 import extensions

KEPT = 1000  # keys that the journal keeps of each check
_FEW = 10 * KEPT  # failing rows that are read together, in one scan for all checks
KEYS = {
    "source": ["source_id"],
    "target": ["source_id", "owner_id"],
    "references": ["table_name", "row_key", "column_name"],
    "reconciliation": ["owner"],
}


def samples(
    cursor: extensions.cursor, subject: str, whole: str, results: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[str]]:
    """At most 1000 keys for each check that failed.

    whole: the query of the subject. results: what Great Expectations found, by the name of the check: the rows
    themselves, or the query that finds them.
    """
    found: dict[str, list[str]] = {}
    few = {}
    for name, result in results.items():
        if (condition := _condition(result, whole)) is None:
            rows = (result.get("details") or {}).get("unexpected_rows") or []
            found[name] = [_key([row[key] for key in KEYS[subject] if key in row]) for row in rows[:KEPT]]
        elif result.get("unexpected_count", 0) > _FEW:
            found |= _scan(cursor, subject, whole, {name: condition}, limit=f" LIMIT {KEPT}")
        else:
            few[name] = condition
    return found | (_scan(cursor, subject, whole, few) if few else {})


def _scan(
    cursor: extensions.cursor, subject: str, whole: str, conditions: Mapping[str, str], limit: str = ""
) -> dict[str, list[str]]:
    keys = KEYS[subject]
    verdicts = ", ".join(f"({condition}) IS TRUE" for condition in conditions.values())
    fails = " OR ".join(f"({condition})" for condition in conditions.values())
    # Nothing here comes from anywhere but our own queries and what Great Expectations has made of the suites.
    cursor.execute(f"SELECT {', '.join(keys)}, {verdicts} FROM ({whole}) failing WHERE {fails}{limit}")  # noqa: S608
    found = defaultdict(list)
    for row in cursor:
        key = _key(row[: len(keys)])
        for name, fails in zip(conditions, row[len(keys) :], strict=True):
            if fails and len(found[name]) < KEPT:
                found[name].append(key)
    return dict(found)


def _condition(result: Mapping[str, Any], whole: str) -> str | None:
    """What failing rows have in common; None where Great Expectations has no query of one condition for them."""
    _, *rest = (result.get("unexpected_index_query") or "").split(whole)
    condition = rest[0].strip().rstrip(";") if len(rest) == 1 else ""
    return condition.removeprefix("WHERE") if condition.startswith("WHERE") else None


def _key(parts: Sequence[Any]) -> str:
    return " / ".join(map(str, parts))
