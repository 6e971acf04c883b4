"""What stands in the way in the tables themselves: which kind they are, their names, their keys, their indexes."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.table_move.errors import Blocker
from pipelines.table_move.pure.facts import Facts, Relation
from pipelines.table_move.pure.quoting import quoted
from pipelines.table_move.pure.surroundings import InvalidIndex, Shadow, Surroundings
from pipelines.table_move.spec import Move

_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "p": "a partitioned table",
    "i": "an index",
    "S": "a sequence",
    "c": "a composite type",
}


def table_blockers(move: Move, facts: Facts, around: Surroundings) -> Iterator[Blocker]:
    if facts.schema_rights is None:
        yield Blocker(
            code="missing_schema",
            message=f"There is no schema {facts.schema}.",
            remedy="Name the schema of the application with --schema.",
        )
        return
    yield from _missing(move, facts)
    for table in facts.tables:
        yield from _unsupported(table)
    yield from _keys(move, facts)
    yield from map(_invalid, around.invalid_indexes)
    if not facts.is_retired:
        yield from (_shadowed(facts, shadow) for shadow in around.shadows)


def _missing(move: Move, facts: Facts) -> Iterator[Blocker]:
    found = {
        **({} if facts.is_purged else {move.source.table: facts.source}),
        move.target.table: facts.target,
        **({move.owner.table: facts.owners} if move.owner else {}),
        **facts.references,
    }
    for name, table in found.items():
        if table is None:
            yield Blocker(
                code="missing_table",
                message=f"There is no table {facts.schema}.{name}.",
                remedy="Name the schema of the application with --schema, or create the table.",
            )


def _unsupported(table: Relation) -> Iterator[Blocker]:
    for what, remedy in _oddities(table):
        yield Blocker(code="unsupported_table", message=f"{table.label} is {what}.", remedy=remedy)


def _oddities(table: Relation) -> Iterator[tuple[str, str]]:
    """What a table is other than a plain logged one that stands alone, and how to make it one."""
    if table.kind != "r":
        yield (
            f"{_KINDS.get(table.kind, 'no table')}, not a plain table",
            f"Put the rows into a plain table named {table.label}, or name another schema with --schema.",
        )
        return
    if table.persistence == "u":
        yield "unlogged: a crash would empty it", f"ALTER TABLE {table.sql} SET LOGGED;"
    if table.persistence == "t":
        yield "temporary", f"Put the rows into a permanent table named {table.name}."
    for parent in table.parents:
        if table.is_partition:
            yield f"a partition of {parent}", f"ALTER TABLE {parent} DETACH PARTITION {table.sql};"
        else:
            yield f"a child of {parent}", f"ALTER TABLE {table.sql} NO INHERIT {parent};"
    for child in table.children:
        yield f"the parent of {child}", f"ALTER TABLE {child} NO INHERIT {table.sql};"


def _keys(move: Move, facts: Facts) -> Iterator[Blocker]:
    keys = [
        (facts.source, move.source.key, "source_key_not_unique"),
        (facts.target, move.target.key, "target_key_not_unique"),
        *((facts.references.get(table.table), table.key, "reference_key_not_unique") for table in move.references),
    ]
    for table, key, code in keys:
        if table is None or table.kind != "r" or key not in table.columns:
            continue
        if key not in table.unique_columns:
            yield Blocker(
                code=code,
                message=f"{table.label}.{key} has no valid unique index of its own, so rows cannot be told apart.",
                remedy=f"ALTER TABLE {table.sql} ADD UNIQUE ({quoted(key)}); -- after doubles have been told apart",
            )
        if table.columns[key].nullable and table is not facts.target:
            yield Blocker(
                code="nullable_key",
                message=f"{table.label}.{key} may be NULL; a row without a key cannot be followed.",
                remedy=f"ALTER TABLE {table.sql} ALTER COLUMN {quoted(key)} SET NOT NULL; "
                "-- after rows without a key got one",
            )


def _invalid(index: InvalidIndex) -> Blocker:
    return Blocker(
        code="invalid_index",
        message=f"The index {index.name} of {index.table} is invalid: it costs every write and serves no query.",
        remedy=f"REINDEX INDEX CONCURRENTLY {index.name}; -- or, if nothing needs it: DROP INDEX {index.name};",
    )


def _shadowed(facts: Facts, shadow: Shadow) -> Blocker:
    user, database, schema = quoted(facts.server.user), quoted(facts.server.database), quoted(facts.schema)
    return Blocker(
        code="shadowed_name",
        message=f"{shadow.name} without a schema means {shadow.relation} to {facts.server.user}, and the move is to "
        f"work in {facts.schema}.",
        remedy=f"ALTER ROLE {user} IN DATABASE {database} SET search_path = {schema}; -- or, if the other one is meant,"
        f" give --schema {shadow.schema}; or rename {shadow.relation}",
    )
