"""Under the application's path run only statements in which nothing of ours has to be found: each operator and each function
is written with its schema."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from psycopg2 import sql

from pipelines.default_templates.move import DEFAULT_TEMPLATES
from pipelines.table_move.database import references_back, rewire
from pipelines.table_move.database.back_names import BackNames
from pipelines.table_move.database.names import Names
from pipelines.table_move.database.queries import FOLDER, read_queries
from pipelines.templates.move import TEMPLATES
from tests.command import ROOT

DATABASE = ROOT / "pipelines" / "table_move" / "database"
STATEMENTS = read_queries(FOLDER / "application.sql")

# Words before a bracket that call nothing, or that the grammar itself knows.
NO_FUNCTION = {
    "insert",
    "materialized",
    "any",
    "coalesce",
    "filter",
    "with",
    "as",
    "from",
    "into",
    "select",
    "exists",
    "in",
    "conflict",
    "and",
    "or",
    "stdin",
}
# What looks for an operator by its name without showing one.
HIDDEN = r"\b(LIKE|ILIKE|SIMILAR|BETWEEN|IS (NOT )?DISTINCT|USING \(|NULLIF|GREATEST|LEAST|IN \(|CASE \w+ WHEN|NATURAL)"


def searched_for(text: str) -> list[str]:
    """The operators and functions that the path would have to find in a statement."""
    plain = re.sub(r"--.*|'[^']*'|%\(\w+\)s|OPERATOR\(pg_catalog\.\S+?\)|pg_catalog\.\w+\((\*\))?", " ", text)
    plain = re.sub(r"INTO \{\w+\} \(|COPY \{\w+\} \(|ON CONFLICT \(", "(", plain)
    plain = re.sub(r"::|pg_catalog\.\w+(\[\])?", " ", plain)
    calls = [name for name in re.findall(r"(\w+)\s*\(", plain) if name.lower() not in NO_FUNCTION]
    return [*calls, *re.findall(HIDDEN, plain, re.I), *re.findall(r"[-+*/<>=~!@#%^&|`?]+", plain)]


def written(composed: sql.Composable) -> str:
    """What we write of it ourselves; names and values are quoted, and call nothing."""
    if isinstance(composed, sql.Composed):
        return "".join(written(part) for part in composed.seq)
    return composed.string if isinstance(composed, sql.SQL) else "{name}"


@pytest.mark.parametrize(
    "text",
    ["a = b", "md5(a)", "a IN (SELECT 1)", "count(*)", "a IS DISTINCT FROM b", "a LIKE b", "max (a)", "nullif(a, b)"],
)
def test_what_has_to_be_found_is_seen(text: str) -> None:
    assert searched_for(text)


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_under_the_applications_path_names_the_schema_of_all_that_it_calls(name: str) -> None:
    assert searched_for(STATEMENTS[name]) == []


@pytest.mark.parametrize("move", [TEMPLATES, DEFAULT_TEMPLATES], ids=lambda move: move.name)
def test_and_so_do_the_parts_that_are_put_into_them(move) -> None:
    names = Names(move=move, schema="s", source_schema="s", references=move.references)
    for table in move.references:
        parts = {
            "rewire": rewire._table(names, table),
            "back": references_back._table(BackNames(names=names, switched=True, parts={}), table),
        }
        for where, found in parts.items():
            for part, composed in found.items():
                text = written(composed)
                if part == "assignments":  # COLUMN = coalesce(…), …
                    text = re.sub(r"\{name\} = ", "", text)
                assert searched_for(text) == [], (where, part)


def blocks(path: Path) -> tuple[set[str], set[str]]:
    """The named queries inside of `with as_application(…)`, and all others, of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and any("as_application" in ast.dump(item.context_expr) for item in node.items)
    ]

    def queries(node: ast.AST) -> list[str]:
        called = [
            one for one in ast.walk(node) if isinstance(one, ast.Call) and getattr(one.func, "attr", "") == "query"
        ]
        return [one.args[0].value for one in called if isinstance(one.args[0], ast.Constant)]

    under = [name for block in inside for name in queries(block)]
    assert all(under.count(name) >= 1 for name in under)
    statements = sum(
        isinstance(one, ast.Call)
        and getattr(one.func, "attr", getattr(one.func, "id", "")) in ("execute", "copy_in", "copy_expert")
        for block in inside
        for one in ast.walk(block)
    )
    assert statements == len(under), f"{path.name} executes something else under the application's path"
    rest = queries(tree)
    for name in under:
        rest.remove(name)
    return set(under), set(rest)


def test_no_other_statement_runs_under_the_applications_path_and_these_nowhere_else() -> None:
    seen: set[str] = set()
    for path in sorted(ROOT.glob("pipelines/**/*.py")):
        under, others = blocks(path)
        seen |= under
        assert all(name.startswith("application.") for name in under), path
        assert not any(name.startswith("application.") for name in others), path
    assert seen == {f"application.{name}" for name in STATEMENTS}
