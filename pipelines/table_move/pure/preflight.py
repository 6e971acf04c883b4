"""What could stop the move later, decided from facts before anything is touched.

A remedy that begins with SQL can be pasted as it is: what is to be said beside the commands stands in a comment.
"""

from __future__ import annotations

from pipelines.table_move.errors import Blocker
from pipelines.table_move.pure.column_blockers import column_blockers
from pipelines.table_move.pure.dependent_blockers import dependent_blockers
from pipelines.table_move.pure.facts import Facts
from pipelines.table_move.pure.quoting import quoted
from pipelines.table_move.pure.right_blockers import right_blockers
from pipelines.table_move.pure.server_blockers import server_blockers
from pipelines.table_move.pure.surroundings import Surroundings
from pipelines.table_move.pure.table_blockers import table_blockers
from pipelines.table_move.spec import Move


def blockers(move: Move, facts: Facts, around: Surroundings) -> tuple[Blocker, ...]:
    """Everything in the way, in one list, so that it can be put right in one go."""
    return (
        *server_blockers(facts, around),
        *table_blockers(move, facts, around),
        *column_blockers(move, facts),
        *right_blockers(facts, around),
        *dependent_blockers(move, facts, around),
    )


def no_owner(*, count: int, examples: list[str], candidates: list[str], command: str, by_file: str) -> Blocker:
    """Rows that no rule gives an owner, and how a person gives them one; nobody is suggested.

    command, by_file: complete but for the owner or the file. candidates: some of the owners that there are.
    """
    shown = ", ".join(examples)
    return Blocker(
        code="no_owner",
        message=f"{count} rows are referred to by nobody and there is no default owner, for example: {shown}.",
        remedy=f"Decide whose they are. One owner for all of them, in place of OWNER its id or name "
        f"({', '.join(candidates)}, …): {command} Or an owner for each, in a CSV file: {by_file}",
    )


def left_behind(move: Move, facts: Facts, *, schema: str, holds_source: bool) -> Blocker:
    """A schema of retired tables that no journal accounts for."""
    retired, table = quoted(schema), move.source.table
    if holds_source and facts.source is None:
        old = quoted(schema, table)
        remedy = (
            f"DROP TRIGGER IF EXISTS pipelines_frozen ON {old}; ALTER TABLE {old} SET SCHEMA {quoted(facts.schema)}; "
            f"DROP SCHEMA {retired}; -- this puts it back, after a look; or rename the schema, if it is of another move"
        )
    else:
        remedy = (
            f"ALTER SCHEMA {retired} RENAME TO {quoted('kept_' + schema)}; -- nothing is lost; after a look it can be "
            "dropped"
        )
    what = f"{schema} holds a retired {table}" if holds_source else f"There is a schema {schema} of retired tables"
    return Blocker(code="retired_table", message=f"{what}, and no journal knows of it.", remedy=remedy)


def frozen_source(facts: Facts, around: Surroundings) -> tuple[Blocker, ...]:
    """A source that still refuses writes for a move that the journal does not know: the switch could not freeze it."""
    return tuple(
        Blocker(
            code="frozen_source",
            message=f"{facts.source.label} is frozen by {trigger.name}, and no journal knows of it.",
            remedy=f"DROP TRIGGER {trigger.name} ON {facts.source.sql};",
        )
        for trigger in around.triggers
        if facts.source is not None and trigger.table_oid == facts.source.oid and trigger.name == "pipelines_frozen"
    )
