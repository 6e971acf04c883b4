"""What stands in the way on the server's side: its version, its state, its collation, its disk."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.table_move.errors import Blocker
from pipelines.table_move.pure import estimate
from pipelines.table_move.pure.facts import Facts, Server
from pipelines.table_move.pure.quoting import quoted
from pipelines.table_move.pure.surroundings import Collation, Surroundings

OLDEST, NEWEST = 15, 18  # the majors that the tests run on
SESSIONS = 10  # that a run has at a time, at most

_SESSION = "SET default_transaction_read_only = off; "  # without it the command itself would be refused


def server_blockers(facts: Facts, around: Surroundings) -> Iterator[Blocker]:
    yield from state_blockers(facts.server)
    yield from _connections(facts.server)
    yield from _collation(facts.server, around.collation)
    yield from _disk(facts, around.disk_free)


def state_blockers(server: Server) -> Iterator[Blocker]:
    """Whether it takes writes, its encoding."""
    if server.is_standby:
        yield Blocker(
            code="read_only",
            message="The server is a standby.",
            remedy="Give the URL of the primary, or promote this one: SELECT pg_promote();",
        )
    elif server.is_read_only:
        yield Blocker(
            code="read_only",
            message=f"default_transaction_read_only is on (set by: {server.read_only_by}); somebody wants no writes.",
            remedy=_writable(server),
        )
    if server.encoding != "UTF8":
        yield Blocker(
            code="encoding",
            message=f"The database is encoded in {server.encoding}; texts are carried byte for byte only in UTF8.",
            remedy="Move the database to encoding UTF8 first (pg_dump, createdb -E UTF8, pg_restore).",
        )


def _connections(server: Server) -> Iterator[Blocker]:
    """A limit on connections that a run would meet after the copy."""
    limits = {("ROLE", server.login): server.role_limit, ("DATABASE", server.database): server.database_limit}
    for (kind, name), limit in limits.items():
        if 0 <= limit < SESSIONS:
            yield Blocker(
                code="connection_limit",
                message=f"The {kind.lower()} {name} may have {limit} connections at a time; a run needs {SESSIONS}.",
                remedy=f"ALTER {kind} {quoted(name)} CONNECTION LIMIT {SESSIONS}; -- more where others use it too",
            )


def version_blocker(version: int) -> Blocker | None:
    """A server older than those that were tried. version: as `server_version_num` has it; 0 where it says none."""
    major = version // 10000
    if major >= OLDEST:
        return None
    return Blocker(
        code="server_too_old",
        message=f"The server is PostgreSQL {major or 'of an unknown version'}; {OLDEST} to {NEWEST} are supported.",
        remedy=f"Upgrade the server to PostgreSQL {OLDEST} or newer.",
    )


def _writable(server: Server) -> str:
    role, database = quoted(server.user), quoted(server.database)
    commands = {
        "database": f"ALTER DATABASE {database} RESET default_transaction_read_only;",
        "user": f"ALTER ROLE {role} RESET default_transaction_read_only;",
        "database user": f"ALTER ROLE {role} IN DATABASE {database} RESET default_transaction_read_only;",
        "configuration file": "ALTER SYSTEM SET default_transaction_read_only = off; SELECT pg_reload_conf();",
    }
    found = commands.get(server.read_only_by)
    return _SESSION + found if found else "Take default_transaction_read_only out of the URL's options and PGOPTIONS."


def _collation(server: Server, collation: Collation | None) -> Iterator[Blocker]:
    if collation is not None:
        database = quoted(server.database)
        yield Blocker(
            code="collation_version",
            message=f"The indexes of {server.database} were built with version {collation.recorded} of its collation; "
            f"the library is version {collation.actual} now, so they may miss rows.",
            remedy=f"REINDEX DATABASE {database}; ALTER DATABASE {database} REFRESH COLLATION VERSION;",
        )


def _disk(facts: Facts, free: int | None) -> Iterator[Blocker]:
    source = facts.source
    if free is None or source is None:
        return
    needed = estimate.needed_bytes(stored=source.heap_bytes + source.toast_bytes, rows=source.estimated_rows)
    if needed > free:
        yield Blocker(
            code="disk_space",
            message=f"The move needs about {needed / 1024**2:,.0f} MB beside {source.label}; the disk has "
            f"{free / 1024**2:,.0f} MB left.",
            remedy="Make room on the disk of the data directory, or give the server a larger one.",
        )
