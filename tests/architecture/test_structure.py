"""The house rules: imports go one way, the machine names no table, cheap verbs stay cheap, SQL says what it is for."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pipelines.default_templates.move import DEFAULT_TEMPLATES
from pipelines.table_move.spec import Move
from pipelines.templates.move import TEMPLATES
from tests.application import Application
from tests.command import ROOT, environment

PACKAGE = ROOT / "pipelines"
MOVES = ("pipelines.templates", "pipelines.default_templates")
LAYERS = (
    ("spec", "errors", "status", "signals"),
    ("records", "settings", "pure", "archive_files", "own_folder"),
    ("code_version",),
    ("database",),
    ("next_calls",),
    ("quality",),
    ("obstacles", "owner_questions", "standing"),
    ("preflight", "outlook"),
    ("summary",),
    ("outcome",),
    ("phases", "way_back", "verifier"),
    ("runner", "rollback", "purger"),
    ("paper", "console", "libraries", "trace", "cli"),
)


def layer(module: str) -> int | None:
    """The layer of `pipelines.table_move.X…`."""
    part = module.removeprefix("pipelines.table_move").strip(".").partition(".")[0]
    return next((number for number, names in enumerate(LAYERS) if part in names), None)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules() -> list[Path]:
    return sorted((PACKAGE / "table_move").rglob("*.py"))


def test_imports_of_the_machine_go_one_way() -> None:
    for path in modules():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        mine = layer(name)
        for imported in imports(path):
            if imported.startswith("pipelines.table_move.") and layer(imported) is not None:
                assert mine is not None, f"{name} stands in no layer"
                assert layer(imported) <= mine, f"{name} imports {imported}, which stands above it"
            assert not imported.startswith(MOVES), f"{name} knows a move"
            assert not imported.startswith("pipelines.migrations"), f"{name} knows the numbered migrations"


def test_pure_modules_know_no_database_clock_environment_or_log() -> None:
    forbidden = {"psycopg2", "sqlalchemy", "os", "time", "datetime", "logging", "structlog", "pathlib", "random"}
    for path in (PACKAGE / "table_move" / "pure").glob("*.py"):
        assert not {name.partition(".")[0] for name in imports(path)} & forbidden, path


def test_one_module_imports_great_expectations_and_only_inside_functions() -> None:
    for path in PACKAGE.rglob("*.py"):
        uses = any(name.partition(".")[0] == "great_expectations" for name in imports(path))
        assert uses == (path.name == "engine.py"), path


def words_of(move: Move) -> set[str]:
    """The tables and columns that a move names."""
    tables = [move.source, move.target, *move.references, *([move.owner] if move.owner else [])]
    words = {word for table in tables for word in (table.table, table.key, *getattr(table, "columns", ()))}
    words |= {table.owner for table in (move.target, *move.references) if table.owner} | {*move.source.not_carried}
    return words | ({move.owner.label} if move.owner else set())


def test_the_machine_names_no_table_and_no_column_of_a_move() -> None:
    words = words_of(TEMPLATES) | words_of(DEFAULT_TEMPLATES)
    words -= {"description", "content", "variables", "metadata"}  # plain English too
    files = [*modules(), *(ROOT / "sql" / "table_move").glob("*.sql"), *PACKAGE.rglob("*.j2")]
    for path in files:
        text = path.read_text(encoding="utf-8")
        for word in words:
            assert not re.search(rf"\b{word}\b", text), f"{path} names {word}"


def test_the_second_move_is_a_small_declaration() -> None:
    folder = PACKAGE / "default_templates"
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py")}
    assert lines.keys() == {"__init__.py", "__main__.py", "move.py", "transform.py"}
    assert sum(lines.values()) <= 60, lines


def test_the_readme_quotes_the_second_move_as_it_is() -> None:
    quoted = re.findall(r"^( *)```python\n(.*?)^ *```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    files = [path.read_text(encoding="utf-8") for path in (PACKAGE / "default_templates").glob("*.py")]
    assert len(quoted) == 2
    for _, block in quoted:
        assert any(textwrap.dedent(block) in text for text in files), block


def test_the_numbered_migrations_know_no_move_and_stand_under_their_command_line() -> None:
    order = ("files", "sentences", "history", "backend", "runner", "call", "confirm", "cli", "__main__")
    for path in (PACKAGE / "migrations").glob("*.py"):
        for imported in imports(path):
            assert not imported.startswith(MOVES), f"{path.name} knows a move"
            part = imported.removeprefix("pipelines.migrations").strip(".").partition(".")[0]
            if imported.startswith("pipelines.migrations") and part:
                assert order.index(part) < order.index(path.stem), f"{path.name} imports {part}"


def test_every_numbered_file_says_what_it_does_and_has_a_way_back() -> None:
    for path in (ROOT / "sql").glob("[0-9]*.sql"):
        text = path.read_text(encoding="utf-8")
        header = re.match(r"(--.*\n)+", text)[0]
        for word in ("What it does", "Locks", "Time", "Going back"):
            assert f"-- {word} " in header, f"{path.name} does not say: {word}"
        for before, ignored in re.findall(r"^(.*)\n(-- squawk-ignore.*)$", text, re.MULTILINE):
            assert before.startswith("-- "), f"{path.name}: the line before {ignored!r} does not give the reason"


def test_every_query_says_what_it_is_for_and_is_used() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in modules())
    for path in (ROOT / "sql" / "table_move").glob("*.sql"):
        parts = re.split(r"^-- name: (\w+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            assert text.startswith("-- "), f"{path.name}: {name} does not say what it is for"
            known = f"{path.stem}.{name}" in code or path.stem == "subjects"
            assert known, f"{path.name}: {name} is used nowhere"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["plan"], ["status"]])
def test_help_plan_and_status_import_neither_pandas_nor_great_expectations(
    demonstration: Application, arguments: list[str]
) -> None:
    probe = (
        "import sys, runpy\n"
        f"sys.argv = ['templates', *{arguments!r}]\n"
        "try:\n    runpy.run_module('pipelines.templates', run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "print('LOADED', sorted({'pandas', 'pyarrow', 'great_expectations', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=ROOT,
        env=environment(DATABASE_URL=demonstration.url, PIPELINES_DEFAULT_BUSINESS="Northwind Support"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.rstrip().endswith("LOADED []"), done.stdout + done.stderr


def test_no_tracked_file_names_a_path_of_a_machine() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in tracked:
        text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
        assert not re.search(r"(^|[\s\"'=])/(root|home|Users)/\w", text), name


def test_every_promise_of_the_readme_names_tests_that_are_there() -> None:
    promises = re.search(
        r"^## What is promised.*?(?=^## )", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    rows = re.findall(r"^\| (?!promised)[^|-].* \| (.*) \|$", promises.group(), re.M)
    named = [re.findall(r"`([\w/]+\.py)::(test_\w+)`", row) for row in rows]
    assert len(named) > 10
    assert all(named), "a promise without a test"
    for path, name in (one for row in named for one in row):
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8"), name


def test_named_queries_are_ascii_and_travel_in_any_encoding() -> None:
    for path in (*(ROOT / "sql" / "table_move").glob("*.sql"), *(ROOT / "sql" / "templates").glob("*.sql")):
        assert path.read_text(encoding="utf-8").isascii(), path


def test_every_trigger_of_ours_fires_in_replica_sessions_too() -> None:
    found = 0
    for path in (ROOT / "sql").rglob("*.sql"):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"CREATE (?:OR REPLACE )?TRIGGER (\w+)", text):
            assert f"ENABLE ALWAYS TRIGGER {name}" in text, f"{path.name}: {name} does not fire there"
            found += 1
    assert found >= 6
