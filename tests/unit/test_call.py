"""What a call says when another command of the move has been at work beside it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from psycopg2 import errors

from pipelines.table_move.cli.call import _moved_meanwhile
from pipelines.table_move.errors import Blocked


@pytest.mark.parametrize(
    ("cause", "now", "moved"),
    [
        (errors.UndefinedTable(), "purged", True),
        (errors.InvalidSchemaName(), "rolled_back", True),
        (errors.UndefinedTable(), "retired", False),  # the world is as it was: something else is missing
        (errors.UndefinedTable(), None, False),  # it could not be read
        (errors.InsufficientPrivilege(), "purged", False),
    ],
)
def test_a_table_that_is_gone_is_told_by_where_the_world_stands(cause: Exception, now: str | None, moved: bool) -> None:
    problem = Blocked("gone", untouched="", next_step="")
    problem.__cause__ = cause
    before = SimpleNamespace(as_dict=lambda: {"world": "retired"})
    assert _moved_meanwhile(problem, before, {"world": now}) is moved
    assert not _moved_meanwhile(problem, None, {"world": now})
