"""The trace of a bug without values: where it happened, and which kinds of errors led to it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from pipelines.table_move.database.server_error import describe


def trace(problem: BaseException) -> list[str]:
    """One line each: frames and code as Python shows them, errors as `describe` says them; the first cause comes
    first."""
    lines = []
    for number, one in enumerate(reversed(list(_chain(problem)))):
        lines += [] if number == 0 else ["", "which led to:", ""]
        for frame in traceback.extract_tb(one.__traceback__):
            lines += [f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}', f"    {frame.line}"]
        lines.append(describe(one))
    return lines


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while problem is not None and id(problem) not in seen:
        seen.add(id(problem))
        yield problem
        problem = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)
