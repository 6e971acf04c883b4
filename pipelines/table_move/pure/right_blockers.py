"""Which rights our role misses, each with the command that gives it."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.table_move.errors import Blocker
from pipelines.table_move.pure.facts import Facts, Relation, Server
from pipelines.table_move.pure.quoting import quoted
from pipelines.table_move.pure.surroundings import Surroundings

_LOCKING = frozenset({"UPDATE", "DELETE", "TRUNCATE"})  # any one of them allows LOCK TABLE … SHARE ROW EXCLUSIVE


def right_blockers(facts: Facts, around: Surroundings) -> Iterator[Blocker]:
    yield from _database(facts)
    yield from _schema(facts)
    yield from _tables(facts)
    yield from _ownership(facts)
    yield from _row_security(facts)
    for sequence in around.sequences:
        user = facts.server.user
        yield _missing(
            f"{user} may not use the sequence {sequence}, which a default of the target asks",
            f"GRANT USAGE ON SEQUENCE {sequence} TO {quoted(user)};",
        )


def _missing(what: str, remedy: str) -> Blocker:
    return Blocker(code="missing_right", message=f"{what}.", remedy=remedy)


def _database(facts: Facts) -> Iterator[Blocker]:
    server = facts.server
    on = f"ON DATABASE {quoted(server.database)} TO {quoted(server.user)};"
    if not server.may_create_schemas:
        yield _missing(
            f"{server.user} may not create schemas in {server.database}; the journal and the retired table need one "
            "each",
            f"GRANT CREATE {on}",
        )
    if not server.may_use_temporary_tables:
        yield _missing(
            f"{server.user} may not make temporary tables in {server.database}; rows that meet rows go through one",
            f"GRANT TEMPORARY {on}",
        )


def _schema(facts: Facts) -> Iterator[Blocker]:
    reasons = {"USAGE": "nothing in it can be seen without", "CREATE": "the old table could not come back to it"}
    for right in reasons if facts.schema_rights is not None else ():
        if right not in facts.schema_rights:
            yield _missing(
                f"{facts.server.user} has no {right} on the schema {facts.schema}; {reasons[right]}",
                f"GRANT {right} ON SCHEMA {quoted(facts.schema)} TO {quoted(facts.server.user)};",
            )


def _tables(facts: Facts) -> Iterator[Blocker]:
    needed = [
        (facts.source, ("SELECT",)),
        (facts.target, ("SELECT", "INSERT", "UPDATE", "DELETE")),
        (facts.owners, ("SELECT",)),
        *((table, ("SELECT", "UPDATE")) for table in facts.references.values()),
    ]
    for table, rights in needed:
        if table is not None and table.kind == "r":
            for right in rights:
                if right not in table.rights:
                    yield _grant(facts, table, right)
    source = facts.source
    if source is not None and source.is_owned and source.kind == "r" and not facts.is_retired:
        # An owner may have taken these from itself, to make the old table read-only.
        if not source.rights & _LOCKING:
            yield _grant(facts, source, "UPDATE")
        if "TRIGGER" not in source.rights:
            yield _grant(facts, source, "TRIGGER")


def _grant(facts: Facts, table: Relation, right: str) -> Blocker:
    user = facts.server.user
    return _missing(
        f"{user} may not {right} on the whole of {table.label}",
        f"GRANT {right} ON {table.sql} TO {quoted(user)};",
    )


def _ownership(facts: Facts) -> Iterator[Blocker]:
    user, source = facts.server.user, facts.source
    if source is not None and source.kind == "r" and not source.is_owned:
        yield _missing(
            f"{user} does not own {source.label}, which has to be retired; {source.owner} does",
            _own(source.sql, source.owner, source.owner_is_superuser, facts.server),
        )
    for key in facts.foreign_keys if not facts.is_retired else ():
        if not key.is_owned:
            yield _missing(
                f"{user} does not own {key.schema}.{key.table}, whose foreign key {key.name} has to be dropped and can "
                f"come back; {key.owner} does",
                _own(quoted(key.schema, key.table), key.owner, key.owner_is_superuser, facts.server),
            )


def _own(table: str, owner: str, owner_is_superuser: bool, server: Server) -> str:
    """Membership leaves the application's own rights as they are, but nobody becomes a superuser for a move."""
    if owner_is_superuser:
        return f"ALTER TABLE {table} OWNER TO {quoted(server.user)}; -- or run as {owner}"
    return f"{membership(owner, server)} -- or run as {owner}"


def membership(role: str, server: Server) -> str:
    """What gives our role the rights of another one, also where it is a member already but does not inherit."""
    grant = f"GRANT {quoted(role)} TO {quoted(server.user)}"
    if server.version >= 160000:
        return f"{grant} WITH INHERIT TRUE;"
    return f"{grant};" if server.inherits else f"{grant}; ALTER ROLE {quoted(server.user)} INHERIT;"


def _row_security(facts: Facts) -> Iterator[Blocker]:
    user = facts.server.user
    for table in facts.tables:
        if table.hides_rows:
            yield Blocker(
                code="row_security",
                message=f"Row security of {table.label} applies to {user}: rows could be hidden from the move.",
                remedy=f"ALTER TABLE {table.sql} NO FORCE ROW LEVEL SECURITY; -- FORCE applies to its owner too"
                if table.is_owned
                else f"ALTER ROLE {quoted(user)} BYPASSRLS; -- or run as {table.owner}, who owns the table",
            )
