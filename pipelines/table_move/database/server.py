"""The server behind an address: one of several hosts, perhaps behind a pooler. All sessions of a call meet it."""

from __future__ import annotations

from typing import NamedTuple

from psycopg2 import OperationalError, errors, extensions

from pipelines.table_move.errors import Blocked, ConnectionLost

_ROUNDS = 3


class Backend(NamedTuple):
    """Who works for a session just now: a process of a cluster, which is known by its number; a standby has that of its
    primary."""

    pid: int
    cluster: int
    is_standby: bool


class Server:
    """What is known of it since the first session.

    place: libpq's parameters of the host that answered.
    takes_options: whether a connection may bring settings along; some poolers refuse them.
    is_pooled: whether a pooler stands in between.
    """

    def __init__(self) -> None:
        self.place: dict[str, str] = {}
        self.takes_options = True
        self.is_pooled = False
        self._met: Backend | None = None

    @property
    def is_new(self) -> bool:
        return self._met is None

    def meet(self, session: extensions.connection, backend: Backend, *, is_pooled: bool) -> None:
        """From here on it is this one."""
        self.place, self._met, self.is_pooled = _place(session), backend, is_pooled

    def require(self, backend: Backend) -> None:
        """Raises ConnectionLost where another server has answered than the one that was met."""
        if backend[1:] != self._met[1:]:
            raise ConnectionLost(
                "Another server answered than at the beginning of this call.",
                untouched="What was committed stays, what was not is undone.",
                next_step="Name one host in the URL, or wait until the failover is over; then run the command again.",
            )

    def refuses_options(self, problem: OperationalError) -> bool:
        """Whether the settings may have been what was refused: then they are not brought along any more.

        libpq gives no SQLSTATE for a refused connection; what poolers say is English.
        """
        said = str(problem)
        if not self.takes_options or not ("startup parameter" in said or "command-line options" in said):
            return False
        self.takes_options = False
        return True


def ask_backend(connection: extensions.connection) -> Backend:
    """Outside of a transaction."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(
                "SELECT pg_catalog.pg_backend_pid(), system_identifier, pg_catalog.pg_is_in_recovery()"
                " FROM pg_catalog.pg_control_system()"
            )
        except errors.InsufficientPrivilege:
            cursor.execute("SELECT pg_catalog.pg_backend_pid(), 0, pg_catalog.pg_is_in_recovery()")
        return Backend(*cursor.fetchone())


def require_sessions(first: extensions.connection, second: extensions.connection) -> None:
    """Raises Blocked where a pooler gives what two sessions say to backends as it likes."""
    seen = [(ask_backend(first).pid, ask_backend(second).pid) for _ in range(_ROUNDS)]
    if len(set(seen)) > 1 or seen[0][0] == seen[0][1]:
        raise Blocked(
            "A pooler stands in between that gives each transaction another session of the server: locks, settings and "
            "snapshots would not hold.",
            untouched="Nothing was written.",
            next_step="Connect directly to the server, or to a port of the pooler that pools whole sessions "
            "(PgBouncer: pool_mode = session); then run the same command again.",
        )


def no_room() -> ConnectionLost:
    """Behind a pooler that has let us in before."""
    return ConnectionLost(
        "The pooler in between gave no further session of the server.",
        untouched="What was committed stays, what was not is undone.",
        next_step="Give its pool room for ten sessions (PgBouncer: default_pool_size, max_client_conn), or connect "
        "directly to the server; then run the same command again.",
    )


def discard(connection: extensions.connection) -> None:
    """Behind a pooler: what another client has left in the session of the server, or we would leave to the next one."""
    with connection.cursor() as cursor:
        cursor.execute("DISCARD ALL")
        cursor.execute("RESET ROLE")  # a login that becomes another role is one again


def set_name(connection: extensions.connection) -> None:
    """The name of the application, which a discarded session has lost."""
    given = connection.info.dsn_parameters.get("application_name", "")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.set_config('application_name', %s, false)", (given,))


def _place(session: extensions.connection) -> dict[str, str]:
    """Host and port that answered, of as many as the address has; empty where there is only one."""
    given = session.info.dsn_parameters
    lists = {key: given[key].split(",") for key in ("host", "hostaddr", "port") if "," in given.get(key, "")}
    for number in range(max(map(len, lists.values()), default=0)):
        one = {key: values[number] for key, values in lists.items() if number < len(values)}
        host = one.get("host") or one.get("hostaddr") or given.get("host")
        if (host, one.get("port") or given.get("port")) == (session.info.host, str(session.info.port)):
            return one
    return {}
