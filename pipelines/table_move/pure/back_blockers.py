"""What stands in the way of going back, decided from facts before anything is touched."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from pipelines.table_move.errors import Blocker
from pipelines.table_move.pure.dependent_blockers import written_blockers
from pipelines.table_move.pure.facts import Facts, Relation
from pipelines.table_move.pure.quoting import quoted
from pipelines.table_move.pure.right_blockers import membership, right_blockers
from pipelines.table_move.pure.server_blockers import state_blockers
from pipelines.table_move.pure.surroundings import Surroundings
from pipelines.table_move.pure.table_blockers import table_blockers
from pipelines.table_move.spec import Move


def back_blockers(move: Move, facts: Facts, around: Surroundings) -> tuple[Blocker, ...]:
    """What the way back needs of the tables and our rights; columns and dependents are no affair of it."""
    return (
        *state_blockers(facts.server),
        *table_blockers(move, facts, around),
        *right_blockers(facts, around),
        *written_blockers(around),
    )


def foreign_key_owners(facts: Facts, tables: Iterable[Relation | None]) -> Iterator[Blocker]:
    """Foreign keys that left come back, which is for the owner of their table."""
    for table in tables:
        if table is not None and not table.is_owned:
            user = facts.server.user
            yield Blocker(
                code="missing_right",
                message=f"{user} does not own {table.label}, whose foreign keys to the old table have to come back; "
                f"{table.owner} does.",
                remedy=f"{membership(table.owner, facts.server)} -- or run as {table.owner}",
            )


def rights_on_old_rows(facts: Facts) -> Iterator[Blocker]:
    """Edits and deletions go into the old rows; an owner may have taken these rights from itself."""
    source = facts.source
    for right in ("UPDATE", "DELETE"):
        if source is not None and source.is_owned and right not in source.rights:
            user = facts.server.user
            yield Blocker(
                code="missing_right",
                message=f"{user} may not {right} on {source.label}, where edits and deletions go back to.",
                remedy=f"GRANT {right} ON {source.sql} TO {quoted(user)};",
            )


def new_source(move: Move, facts: Facts, *, retired_schema: str | None) -> Blocker:
    place = f"the old one is retired in {retired_schema}" if retired_schema else "the old one has been purged"
    table = move.source.table
    return Blocker(
        code="new_source",
        message=f"A new {facts.schema}.{table} stands where the old one has to return; {place}.",
        remedy=f"ALTER TABLE {quoted(facts.schema, table)} RENAME TO {quoted('new_' + table)}; -- or drop it",
    )


def other_table(table: str, *, what: str) -> Blocker:
    return Blocker(
        code="other_table",
        message=f"{table} is not the table that this move {what}.",
        remedy="Put the table back that the move knows, then run the same command again.",
    )


def cannot_hold(columns: Iterable[tuple[str, str]], *, schema: str) -> Iterator[Blocker]:
    """Columns that have been given a type since which cannot hold what they held."""
    command = ["python", "-m", "pipelines.migrations", "down", "--to", "04"]
    in_schema = [] if schema == "public" else ["--schema", schema]
    for table, column in columns:
        yield Blocker(
            code="column_cannot_hold",
            message=f"{table}.{column} is uuid now and cannot hold the old ids, as it did before the move.",
            remedy=f"Take 05 down first: {shlex.join([*command, *in_schema])} (--yes where there is no terminal)",
        )
