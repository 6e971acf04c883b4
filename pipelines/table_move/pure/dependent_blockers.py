"""What depends on the old table or holds on to the tables: views, rules, publications, foreign keys and the like."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.table_move.errors import Blocker
from pipelines.table_move.pure.facts import Facts, ForeignKey
from pipelines.table_move.pure.quoting import literal, quoted
from pipelines.table_move.pure.surroundings import Dependent, Prepared, Surroundings
from pipelines.table_move.spec import Move

_REMEDIES = {
    "view": "DROP VIEW {name};",
    "materialized view": "DROP MATERIALIZED VIEW {name};",
    "rule": "DROP RULE {name} ON {table};",
    "policy": "DROP POLICY {name} ON {table};",
    "publication": "ALTER PUBLICATION {name} DROP TABLE {table};",
    "publication of the schema": "ALTER PUBLICATION {name} DROP TABLES IN SCHEMA {table};",
    "publication of all tables": "DROP PUBLICATION {name};",
    "subscription": "DROP SUBSCRIPTION {name}; -- or take the tables out of its publication, then here: ALTER "
    "SUBSCRIPTION {name} REFRESH PUBLICATION",
    "function": "DROP FUNCTION {name};",
    "procedure": "DROP PROCEDURE {name};",
    "aggregate": "DROP AGGREGATE {name};",
    "default": "ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT;",
    "generated column": "ALTER TABLE {table} ALTER COLUMN {name} DROP EXPRESSION;",
    "constraint": "ALTER TABLE {table} DROP CONSTRAINT {name};",
    "column": "ALTER TABLE {table} ALTER COLUMN {name} TYPE text USING {name}::text;",
}


def dependent_blockers(move: Move, facts: Facts, around: Surroundings) -> Iterator[Blocker]:
    if not facts.is_retired:
        yield from (_dependent(move, facts, found) for found in around.dependents)
        yield from _replication(around)
        yield from (_unknown(key) for key in facts.foreign_keys if not _is_followed(move, facts, key))
    yield from written_blockers(around)


def written_blockers(around: Surroundings) -> Iterator[Blocker]:
    """What would change what is written, or holds on to the tables without an end."""
    yield from map(_rule, around.rules)
    yield from map(_prepared, around.prepared)


def _remedy(found: Dependent) -> str:
    return _REMEDIES[found.kind].format(name=found.name, table=found.table)


def _dependent(move: Move, facts: Facts, found: Dependent) -> Blocker:
    return Blocker(
        code="dependent_object",
        message=f"The {found.kind} {_full_name(found)} depends on {facts.schema}.{move.source.table}; nothing is "
        "dropped with CASCADE.",
        remedy=f"{_remedy(found)} -- or point it to {facts.schema}.{move.target.table}",
    )


def _full_name(found: Dependent) -> str:
    return f"{found.name} on {found.table}" if found.table else found.name


def _replication(around: Surroundings) -> Iterator[Blocker]:
    """What names the source as well is in the list already, unless it names tables one by one."""
    told = {(found.kind, found.name) for found in around.dependents if found.kind != "publication"}
    for found in around.replication:
        if found.kind == "subscription":
            does = "writes what was written elsewhere; no trigger of a frozen table stops that"
        else:
            does = "would send on what the move writes, to tables that nobody has moved"
        if (found.kind, found.name) not in told:
            yield Blocker(
                code="replication",
                message=f"The {found.kind} {_full_name(found)} {does}.",
                remedy=_remedy(found),
            )


def _rule(found: Dependent) -> Blocker:
    return Blocker(
        code="rule",
        message=f"The rule {_full_name(found)} rewrites what is written there, so the move cannot say what it writes.",
        remedy=f"{_remedy(found)} -- a trigger can do the same, and would be seen",
    )


def _is_followed(move: Move, facts: Facts, key: ForeignKey) -> bool:
    followed = {(table.table, column) for table in move.references for column in table.columns}
    return (
        key.schema == facts.schema
        and key.key_columns == (move.source.key,)
        and len(key.columns) == 1
        and (key.table, key.columns[0]) in followed
    )


def _unknown(key: ForeignKey) -> Blocker:
    columns = ", ".join(key.columns)
    return Blocker(
        code="unknown_foreign_key",
        message=f"{key.schema}.{key.table} ({columns}) refers to the old table by {key.name}; the move does not follow "
        "it.",
        remedy=f"ALTER TABLE {quoted(key.schema, key.table)} DROP CONSTRAINT {quoted(key.name)}; -- or add the column "
        "to the declaration's references",
    )


def _prepared(found: Prepared) -> Blocker:
    gid = literal(found.gid)
    return Blocker(
        code="prepared_transaction",
        message=f"The prepared transaction {gid} holds locks on {found.table} until somebody ends it.",
        remedy=f"COMMIT PREPARED {gid}; -- or ROLLBACK PREPARED {gid}; whoever prepared it knows which",
    )
