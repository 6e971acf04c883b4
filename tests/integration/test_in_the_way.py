"""Who holds a lock is named as far as it can be known: prepared transactions, and sessions that our role may not look into."""

from __future__ import annotations

import psycopg2
import pytest

from pipelines.table_move.database.address import parse_url
from pipelines.table_move.database.connect import Database
from pipelines.table_move.database.in_the_way import in_the_way
from tests import servers
from tests.acceptance.test_preflight import restart
from tests.application import Application


@pytest.mark.parametrize("major", servers.ALL, ids=servers.name)
def test_a_prepared_transaction_and_a_session_of_a_superuser_are_named(major: int) -> None:
    with servers.started(major) as server:
        with Application(server.get_uri()) as application:
            application.execute("ALTER SYSTEM SET max_prepared_transactions = 2")
        restart(server)
        with Application(server.get_uri()) as application:
            application.execute("CREATE TABLE held (id int); CREATE ROLE mover LOGIN; GRANT SELECT ON held TO mover")
            oid = application.value("SELECT 'held'::regclass::oid")
            database = Database(parameters=parse_url(server.get_uri().replace("postgres:@", "mover@", 1)))
            assert in_the_way(database, [oid]) == ""
            other = psycopg2.connect(server.get_uri(), application_name="nightly")
            other.cursor().execute("LOCK TABLE held IN ROW EXCLUSIVE MODE")
            pid = other.info.backend_pid
            said = in_the_way(database, [oid])
            assert said == f": pid {pid} (nightly) holds RowExclusiveLock on public.held", "since when may not be seen"
            other.close()
            application.execute("BEGIN; LOCK TABLE held IN ROW EXCLUSIVE MODE; PREPARE TRANSACTION 'left over'")
            said = in_the_way(database, [oid])
            assert "the prepared transaction 'left over'" in said
            assert "holds RowExclusiveLock on public.held for " in said
            application.execute("ROLLBACK PREPARED 'left over'")
