"""What a session's syntax and meaning depend on, in one table: pinned before anything else runs, whatever the role, the
database, the environment or the URL say, and looked at afterwards.

The pins travel with the connection's start-up packet, so that the session never knows others: psycopg2 asks once,
when it connects, how a backslash in a literal is read. Behind a pooler that takes no options they are the session's
first statement.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from psycopg2 import extensions

from pipelines.table_move.errors import Blocked

PATH = "pg_catalog, pg_temp"


class Pin(NamedTuple):
    """A setting, its value as `current_setting` shows it, and why it may not be another one."""

    name: str
    value: str
    why: str


_TEXT = "a literal, a name or a definition would read as something else"
_VALUE = "a value would come back as another text, or not at all"
_TIME = "our own bounds hold; one of our sessions holds the lock of the move and says nothing"
_PLAN = "whole tables are joined by hash, and a plan that is forbidden takes hours"
_PLACE = "the journal and a table from its archive stand where the database has its tables"

PINS = (
    Pin("search_path", PATH, "nothing of the application's can stand before pg_catalog, nor be found at all"),
    Pin("row_security", "off", "row security raises instead of hiding rows"),
    Pin("client_encoding", "UTF8", _TEXT),
    Pin("standard_conforming_strings", "on", _TEXT),
    Pin("backslash_quote", "safe_encoding", _TEXT),
    Pin("escape_string_warning", "off", "there is nothing to warn about"),
    Pin("transform_null_equals", "off", "= NULL would mean IS NULL"),
    Pin("array_nulls", "on", _TEXT),
    Pin("quote_all_identifiers", "off", "the catalog's names of types are compared"),
    Pin("xmloption", "content", _VALUE),
    Pin("DateStyle", "ISO, YMD", _VALUE),
    Pin("IntervalStyle", "postgres", _VALUE),
    Pin("TimeZone", "UTC", _VALUE),
    Pin("bytea_output", "hex", _VALUE),
    Pin("extra_float_digits", "1", _VALUE),
    Pin("lc_monetary", "C", _VALUE),
    Pin("lc_numeric", "C", _VALUE),
    Pin("lc_time", "C", _VALUE),
    Pin("plpgsql.extra_errors", "none", "what is allowed stays allowed"),
    Pin("plpgsql.extra_warnings", "none", "what is allowed stays allowed"),
    Pin("default_transaction_deferrable", "off", "a snapshot is not waited for"),
    Pin("exit_on_error", "off", "a refused row would end the session"),
    Pin("client_min_messages", "error", "nobody reads notices, and what they quote may be a secret"),
    Pin("statement_timeout", "0", _TIME),
    Pin("lock_timeout", "0", _TIME),
    Pin("idle_in_transaction_session_timeout", "15s", "who sleeps while it reads keeps out whoever changes a table"),
    Pin("idle_session_timeout", "0", _TIME),
    Pin("default_tablespace", "", _PLACE),
    Pin("default_table_access_method", "heap", _PLACE),
    Pin("work_mem", "64MB", "the default would join in many passes over the disk"),
    Pin("jit", "off", "it costs more than it saves where statements are many and their sizes known badly"),
    Pin("plan_cache_mode", "auto", _PLAN),
    Pin("join_collapse_limit", "8", _PLAN),
    Pin("from_collapse_limit", "8", _PLAN),
    *(
        Pin(f"enable_{way}", "on", _PLAN)
        for way in (
            "seqscan",
            "indexscan",
            "bitmapscan",
            "tidscan",
            "nestloop",
            "hashjoin",
            "mergejoin",
            "hashagg",
            "sort",
        )
    ),
)

# Where the server has them, and where it lets us: a backend whose client is gone notices within seconds instead of
# finishing its statement; no installation's limit on transactions ends a long copy; an acknowledged commit survives a
# crash; the application's triggers and foreign keys are asked.
_AFTERWARDS = (
    "SELECT pg_catalog.set_config(s.name, w.value, false) FROM pg_catalog.pg_settings s JOIN (VALUES"
    " ('client_connection_check_interval', '2s', NULL), ('transaction_timeout', '0', NULL),"
    " ('tcp_keepalives_idle', '10', NULL), ('tcp_keepalives_interval', '5', NULL), ('tcp_keepalives_count', '3', NULL),"
    " ('tcp_user_timeout', '25000', NULL), ('debug_parallel_query', 'off', NULL), ('force_parallel_mode', 'off', NULL),"
    " ('restrict_nonsystem_relation_kind', '', NULL), ('synchronous_commit', 'on', 'off'),"
    " ('session_replication_role', 'origin', 'replica'), ('session_replication_role', 'origin', 'local')"
    ") AS w (name, value, instead_of) ON w.name OPERATOR(pg_catalog.=) s.name"
    " AND (w.instead_of IS NULL OR w.instead_of OPERATOR(pg_catalog.=) s.setting)"
)


def start_up_options(options: str | None) -> str:
    """The pins as libpq's `options`, behind those of the URL or of the environment: the last one holds."""
    given = options if options is not None else os.environ.get("PGOPTIONS", "")
    return " ".join([*([given] if given else []), *(f"-c {pin.name}={_escaped(pin.value)}" for pin in PINS)])


def pin(connection: extensions.connection) -> None:
    """Make sure of them, in a connection that commits by itself. Raises Blocked where the server keeps others."""
    if connection.get_parameter_status("standard_conforming_strings") != "on":
        raise _refused("standard_conforming_strings")
    with connection.cursor() as cursor:
        if _different(cursor):  # start-up options get lost in some poolers
            cursor.execute("; ".join(f"SET {each.name} = {_set(each.value)}" for each in PINS))
            if found := _different(cursor):
                raise _refused(found[0])
        cursor.execute(_AFTERWARDS)


def _different(cursor: extensions.cursor) -> list[str]:
    asked = ", ".join(f"pg_catalog.current_setting('{each.name}', true)" for each in PINS)
    cursor.execute(f"SELECT {asked}")
    return [each.name for each, found in zip(PINS, cursor.fetchone(), strict=True) if found != each.value]


def _set(value: str) -> str:
    return value if value == PATH else f"'{value}'"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def _refused(name: str) -> Blocked:
    return Blocked(
        f"The setting {name} of this session is not what the pipeline needs, and the server or a pooler keeps it.",
        untouched="Nothing was written.",
        next_step=f"ALTER ROLE … RESET {name} and ALTER DATABASE … RESET {name} take it back, "
        "or connect directly to the server; then run the same command again.",
    )
