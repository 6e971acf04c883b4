"""What a numbered file has to say: its own RAISE texts. Whatever else a server says while it runs may hold data."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg2

_RAISE = re.compile(r"\bRAISE\s+(?:(?:EXCEPTION|WARNING|NOTICE|INFO)\s+)?('(?:[^']|'')*'(?:\s*\n\s*'(?:[^']|'')*')*)")
_PART = re.compile(r"'((?:[^']|'')*)'")
_OF_ITS_OWN = re.compile(r"[^%]*|.*[^\W\d]+\W+[^\W\d]+.*", re.DOTALL)  # 'error: %' is anybody's


class Sentences:
    """The texts that a file raises, with anything where it has a placeholder."""

    def __init__(self, path: Path) -> None:
        self._path, self._text = path, path.read_text(encoding="utf-8")
        texts = ["".join(_PART.findall(found)) for found in _RAISE.findall(self._text)]
        self._own = [_pattern(text) for text in texts if _OF_ITS_OWN.fullmatch(text)]

    def of_error(self, problem: psycopg2.Error) -> tuple[str, str | None] | None:
        """Sentence and hint of an error that the file has raised; None for one of anybody else."""
        said = problem.diag.message_primary or ""
        return (said, problem.diag.message_hint) if self._is_own(said) else None

    def place(self, problem: psycopg2.Error) -> str:
        """Where in the file the server has found an error, as far as it says so."""
        statement = (getattr(problem.cursor, "query", None) or b"").decode(errors="replace")
        position, start = problem.diag.statement_position, self._text.find(statement)
        if not position or not statement or start < 0:
            return ""
        line = self._text.count("\n", 0, start + int(position) - 1) + 1
        return f", line {line} of {self._path.name}"

    def of_notice(self, text: str) -> str | None:
        """The first line of a notice, as libpq prints it, where it is the file's."""
        line = text.strip().partition("\n")[0]
        return line if self._is_own(line.partition(":  ")[2]) else None

    def _is_own(self, said: str) -> bool:
        return any(pattern.fullmatch(said) for pattern in self._own)


def _pattern(text: str) -> re.Pattern[str]:
    """In a text of RAISE, % stands for a value and %% for itself."""
    literal = text.replace("''", "'")
    parts = ["%".join(map(re.escape, part.split("%%"))) for part in re.split(r"(?<!%)%(?!%)", literal)]
    return re.compile(".*".join(parts), re.DOTALL)
