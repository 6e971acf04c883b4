"""One small change to what decides, and whether a test notices: in pure/, in the named SQL, in the suites.

Everything happens in a copy of the tree. A mutant is killed where its tests fail, has survived where they pass, and is
counted by itself where they did not end in time.
"""

from __future__ import annotations

import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.command import ROOT

LONGEST = 240  # seconds for the tests of one mutant
UNIT = ("tests/unit", "tests/property")
CASES = ("tests/acceptance/test_cases.py",)
BLOCKERS = ("tests/unit/test_preflight.py", "tests/acceptance/test_preflight.py", "tests/acceptance/test_rights.py")
BACK = ("tests/acceptance/test_up_down_up.py", "tests/acceptance/test_rollback.py")
# By file: the tests that are about it, the quick ones first. Nearly everything is met by the table of cases.
TESTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "pure/edits": (UNIT, BACK), "pure/losses": (UNIT, BACK), "pure/description": (UNIT, ("tests/acceptance/test_purge.py",)),
    "pure/table_blockers": (BLOCKERS,), "pure/column_blockers": (BLOCKERS,), "pure/right_blockers": (BLOCKERS,),
    "pure/dependent_blockers": (BLOCKERS,), "pure/server_blockers": (BLOCKERS,), "pure/back_blockers": (BLOCKERS, BACK),
    "pure/preflight": (BLOCKERS,), "pure/surroundings": (BLOCKERS,), "pure/warnings": (BLOCKERS,),
    "pure/world": (UNIT, ("tests/acceptance/test_world.py",)), "sql/rollback": (BACK,),
    "sql/purge": (("tests/acceptance/test_purge.py",),), "sql/surroundings": (BLOCKERS,), "sql/census": (CASES, BLOCKERS),
    "sql/catalog": (CASES, BLOCKERS), "sql/cutover": (CASES, ("tests/integration/test_cutover.py",)),
    "sql/catchup": (("tests/integration/test_cutover.py",), CASES), "sql/copy": (("tests/integration/test_copy.py",), CASES),
    "suite": (CASES, ("tests/integration/test_cutover.py", "tests/acceptance/test_exit_codes.py")),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    path: str  # in the tree
    line: int
    change: str
    text: str  # of the whole file

    @property
    def area(self) -> str:
        return "suite" if self.path.endswith(".json") else "sql" if self.path.endswith(".sql") else "pure"

    @property
    def tests(self) -> tuple[tuple[str, ...], ...]:
        name = self.area if self.area == "suite" else f"{self.area}/{Path(self.path).stem}"
        return TESTS.get(name, (UNIT, CASES) if self.area == "pure" else (CASES,))


def all_mutants() -> list[Mutant]:
    found: list[Mutant] = []
    for pattern, make in (
        ("pipelines/table_move/pure/*.py", of_python),
        ("sql/table_move/*.sql", of_sql),
        ("expectations/templates/*.json", of_suite),
    ):
        for path in sorted(ROOT.glob(pattern)):
            found += make(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
    return found


# Python: by the syntax tree; the source around the place stays as it is.

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_REACHED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr, ast.Mod: ast.Mult,
}  # fmt: skip


def of_python(path: str, text: str) -> Iterator[Mutant]:
    tree = ast.parse(text)
    skipped = {id(part) for node in ast.walk(tree) for part in _no_code(node)}
    lines = text.encode().splitlines(keepends=True)
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        for new in _changed(node):
            start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
            end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
            raw, now = text.encode(), ast.unparse(new)
            was = " ".join(raw[start:end].decode().split())
            mutated = raw[:start] + f"({now})".encode() + raw[end:]
            yield Mutant(path, node.lineno, f"{was[:90]}  ->  {now[:90]}", mutated.decode())


def _no_code(node: ast.AST) -> Iterator[ast.AST]:
    """Annotations, sentences: what decides nothing."""
    for name in ("annotation", "returns"):
        if (part := getattr(node, name, None)) is not None:
            yield from ast.walk(part)
    if isinstance(node, ast.JoinedStr):
        yield from ast.walk(node)
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.BitOr):
        yield from ast.walk(node.value)  # a union of types


def _changed(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARED:
            yield ast.Compare(left, [_COMPARED[type(op)]()], [right])
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            yield from (values[0], values[-1])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _REACHED:
            yield ast.BinOp(left, _REACHED[type(op)](), right)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Call(func=ast.Name(id="any" | "all" as name), args=args):
            yield ast.Call(ast.Name("all" if name == "any" else "any"), args, [])


# SQL: by words, outside of comments and strings.

_WORDS = [
    (r"(?<![<>:!])=(?!>)", "<>"), (r"<>", "="), (r"(?<=\s)<(?=\s)", "<="), (r"(?<=\s)<=(?=\s)", "<"),
    (r"(?<=\s)>(?=\s)", ">="), (r"(?<=\s)>=(?=\s)", ">"), (r"\bAND\b", "OR"), (r"\bOR\b", "AND"), (r"\bLEFT JOIN\b", "JOIN"),
    (r"\bIS NULL\b", "IS NOT NULL"), (r"\bIS NOT NULL\b", "IS NULL"), (r"\bNOT EXISTS \(", "EXISTS ("),
    (r"(?<!NOT )\bEXISTS \(", "NOT EXISTS ("), (r"\bIS DISTINCT FROM\b", "IS NOT DISTINCT FROM"),
    (r"\bIS NOT DISTINCT FROM\b", "IS DISTINCT FROM"), (r"\bmin\(", "max("), (r"\bmax\(", "min("), (r"\bUNION ALL\b", "UNION"),
    (r"\bSELECT DISTINCT\b", "SELECT"), (r"\bDESC\b", "ASC"), (r"(?<=[\s(])(\d+)(?=[\s,);])", "+1"), (r"\btrue\b", "false"),
    (r"\bfalse\b", "true"), (r"\bNOT (?!NULL|EXISTS|VALID|DISTINCT|MATERIALIZED)", ""),
]  # fmt: skip


def of_sql(path: str, text: str) -> Iterator[Mutant]:
    blank = re.sub(r"--[^\n]*|'(?:[^']|'')*'", lambda found: re.sub(r"[^\n]", "\0", found[0]), text)
    for pattern, new in _WORDS:
        for found in re.finditer(pattern, blank):
            now = str(int(found[1]) + 1) if new == "+1" else new
            line = text.count("\n", 0, found.start()) + 1
            if "=" in found[0] and re.match(r"\s*SET\b|.*\bSET .*,?\s*$", _line(text, line)) and new == "<>":
                continue  # an assignment
            around = " ".join(text[max(0, found.start() - 30) : found.end() + 30].split())
            yield Mutant(
                path, line, f"{found[0]}  ->  {now}   in {around}", text[: found.start()] + now + text[found.end() :]
            )


def _line(text: str, number: int) -> str:
    return text.splitlines()[number - 1]


# Suites.


def of_suite(path: str, text: str) -> Iterator[Mutant]:
    suite = json.loads(text)
    for at, expectation in enumerate(suite["expectations"]):
        name = expectation.get("meta", {}).get("name", expectation["type"])
        line = text.count("\n", 0, text.find(f'"{name}"')) + 1

        def changed(what: str, new: dict | None, at: int = at, line: int = line, name: str = name) -> Mutant:
            others = suite["expectations"]
            kept = [*others[:at], *([new] if new else []), *others[at + 1 :]]
            return Mutant(path, line, f"{name}: {what}", json.dumps({**suite, "expectations": kept}, indent=2))

        yield changed("dropped", None)
        if expectation.get("severity") == "critical":
            yield changed("a warning", {**expectation, "severity": "warning"})
        for key, value in expectation["kwargs"].items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield changed(
                    f"{key} {value} -> {value + 1}",
                    {**expectation, "kwargs": {**expectation["kwargs"], key: value + 1}},
                )
            if isinstance(value, list):
                yield changed(f"{key} one more", {**expectation, "kwargs": {**expectation["kwargs"], key: [*value, 1]}})


# The runner.


def hunt(ends: float, number: int, counts: Counter[str], *, areas: tuple[str, ...] = ("pure", "sql", "suite")) -> None:
    """Try as many as there is time for, in an order of chance. Survivors are printed."""
    mutants = [one for one in all_mutants() if one.area in areas]
    print("mutants there are:", dict(Counter(one.area for one in mutants)), flush=True)
    random.Random(number).shuffle(mutants)
    with tempfile.TemporaryDirectory(prefix="table-move-mutants-") as folder:
        tree = _copy(Path(folder) / "tree")
        for mutant in mutants:
            if time.monotonic() > ends:
                break
            verdict = tried(tree, mutant)
            counts[f"mutants of {mutant.area}: {verdict}"] += 1
            if verdict != "killed":
                print(f"{verdict.upper()} {mutant.path}:{mutant.line}  {mutant.change}", flush=True)


def _copy(tree: Path) -> Path:
    kept = shutil.ignore_patterns(".venv", ".git", ".demo", "reports", "__pycache__", ".pytest_cache", ".hypothesis")
    shutil.copytree(ROOT, tree, ignore=kept)
    (tree / ".venv").symlink_to((ROOT / ".venv").resolve())
    return tree


def tried(tree: Path, mutant: Mutant) -> str:
    place = tree / mutant.path
    before = place.read_text(encoding="utf-8")
    place.write_text(mutant.text, encoding="utf-8")
    try:
        for tests in mutant.tests:
            existing = [one for one in tests if (tree / one).exists()]
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-n",
                "0",
                "-x",
                "-q",
                "-p",
                "no:cacheprovider",
                "--tb=no",
                *existing,
            ]
            done = subprocess.run(
                command, cwd=tree, capture_output=True, timeout=LONGEST, check=False,
                env={**os.environ, "SERVERS": "18", "PYTHONDONTWRITEBYTECODE": "1"},
            )  # fmt: skip
            if done.returncode:
                return "killed"
        return "survived"
    except subprocess.TimeoutExpired:
        return "timed out"
    finally:
        place.write_text(before, encoding="utf-8")
