"""No lock without an end: whatever locks a table goes through `locking`, which wants a bound; no session waits for long."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.command import ROOT

PACKAGE = ROOT / "pipelines" / "table_move"
LOCKS = re.compile(
    r"\b(LOCK TABLE|ALTER TABLE|DROP TABLE (?!pg_temp)|DROP SCHEMA|(CREATE|CREATE OR REPLACE|DROP) TRIGGER)\b"
)
OWN = {"journal.create", "subjects.forget_kept"}  # the journal, and a temporary table
OPENS = {"writing", "session", "reading", "connect"}


def locking_queries() -> set[str]:
    """The named queries that lock a table of the application's."""
    found = set()
    for path in (ROOT / "sql" / "table_move").glob("*.sql"):
        parts = re.split(r"^-- name: (\w+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            plain = re.sub(r"^--.*$", "", text, flags=re.MULTILINE)
            if LOCKS.search(plain) and "pg_temp" not in plain and f"{path.stem}.{name}" not in OWN:
                found.add(f"{path.stem}.{name}")
    return found


def texts(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def opened(node: ast.With) -> set[str]:
    """What kinds of session or transaction a `with` opens."""
    calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
    return {getattr(call.func, "attr", getattr(call.func, "id", "")) for call in calls}


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def test_there_are_queries_that_lock() -> None:
    assert {
        "cutover.lock_for_retire",
        "cutover.restore",
        "rollback.drop_freeze",
        "purge.lock_for_drop",
    } <= locking_queries()


def test_what_locks_a_table_does_so_in_a_transaction_with_a_bound() -> None:
    queries = locking_queries()
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.With) and opened(node) & OPENS and "locking" not in opened(node):
                wrong = [text for text in texts(node) if text in queries or LOCKS.search(text)]
                assert not wrong, f"{path.name}:{node.lineno} goes around `locking`: {wrong}"


def test_every_transaction_that_locks_says_its_bound() -> None:
    found = 0
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "locking":
                assert len(node.args) == 2, f"{path.name}:{node.lineno}"
                found += 1
    assert found > 8


def test_what_a_transaction_sends_in_bulk_it_sends_before_it_holds_what_others_want() -> None:
    """No server ends a COPY that waits for its client."""
    for path in (ROOT / "sql" / "table_move").glob("*.sql"):
        for statement in re.findall(
            r"^COPY ([^(\s]+) \([^)]*\)\s+FROM STDIN", path.read_text(encoding="utf-8"), flags=re.MULTILINE
        ):
            assert statement in {"pg_temp.staged", "pg_temp.staged_rejected", "pipelines.candidate", "{table}"}, (
                f"{path.name} sends into {statement}"
            )


def test_no_session_waits_for_a_lock_as_long_as_the_server_takes_to_look_for_a_deadlock() -> None:
    source = (PACKAGE / "database" / "connect.py").read_text(encoding="utf-8")
    assert "give_up_early(session, self.lock_timeout)" in source
    for path, tree in trees():
        for text in texts(tree):
            if "lock_timeout" in text and re.search(r"SET (LOCAL )?lock_timeout", text):
                assert "'10ms'" in text or text.endswith("lock_timeout = 0"), f"{path.name}: {text}"
