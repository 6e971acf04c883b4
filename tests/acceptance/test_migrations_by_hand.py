"""psql without ON_ERROR_STOP goes on after an error: only what stands is recorded, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest

from tests.acceptance.test_migration_05 import filled, without_places  # noqa: F401  filled is a fixture
from tests.acceptance.test_migrations import ONE_VERSION
from tests.application import Application
from tests.postgres_tools import contents, psql, schema_dump

FILES = {
    2: "sql/02_index_frequent_queries",
    3: "sql/03_soft_delete",
    4: "sql/04_audit_log",
    5: "sql/05_stage_references_as_uuid",
}
TABLES = ("templates", "stages")

# What stands in the way of a file, and what its last error is about.
UP = {
    "02, a sequence has an index's name": (
        2,
        "CREATE SEQUENCE idx_stages_data_extraction_template_id",
        "are not there",
    ),
    "02, an index of that name over other columns": (
        2,
        "CREATE INDEX idx_templates_business_id_template_type ON templates (template_name)",
        "are not there",
    ),
    "02, a column is missing": (2, "ALTER TABLE stages DROP COLUMN data_extraction_template_id", "are not there"),
    "03, deleted_at of another type": (3, "ALTER TABLE templates ADD COLUMN deleted_at date", "timestamptz"),
    "03, no templates": (3, "ALTER TABLE templates RENAME TO other", "not everything"),
    "03, a function that returns something else": (
        3,
        "CREATE FUNCTION soft_delete_stage(id uuid) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'",
        None,
    ),
    "04, a schema of that name": (4, "CREATE SCHEMA audit", "did not make"),
    "05, a reference to nothing": (
        5,
        "UPDATE stages SET data_extraction_template_id = 'old' WHERE stage_name = '7'",
        "does not exist",
    ),
    "05, a view on the columns": (
        5,
        "CREATE VIEW seen AS SELECT data_extraction_template_id FROM stages",
        "does not exist",
    ),
    "05, no templates": (5, "ALTER TABLE templates RENAME TO other", "does not exist"),
}


@pytest.fixture
def prepared(filled: Application) -> Application:  # noqa: F811
    """The tables as they are before 02: 30 templates, 2,000 stages."""
    assert psql(filled, f"{FILES[2]}.rollback.sql").code == 0
    filled.execute("DELETE FROM pipelines_migrations.applied")
    return filled


def applied(application: Application) -> list[int]:
    return [number for (number,) in application.rows("SELECT number FROM pipelines_migrations.applied ORDER BY 1")]


@ONE_VERSION
@pytest.mark.parametrize("case", UP)
def test_a_file_that_failed_is_not_recorded_and_runs_when_the_way_is_clear(prepared: Application, case: str) -> None:
    number, obstacle, last_error = UP[case]
    before = without_places(schema_dump(prepared))
    prepared.execute(obstacle)
    rows = contents(prepared, *(("other", "stages") if "RENAME" in obstacle else TABLES)) if number == 5 else None

    answer = psql(prepared, f"{FILES[number]}.sql", stops=False)

    assert answer.code == 0, "psql itself says nothing"
    if last_error is not None:
        assert last_error in answer.err, answer.err
        assert applied(prepared) == []
    if rows is not None:
        assert contents(prepared, *(("other", "stages") if "RENAME" in obstacle else TABLES)) == rows
        assert (
            prepared.value("SELECT count(*) FROM pg_attribute WHERE attname LIKE 'pipelines_new%' AND NOT attisdropped")
            == 0
        )
    undo = {
        "CREATE SEQUENCE": "DROP SEQUENCE idx_stages_data_extraction_template_id",
        "CREATE INDEX": "DROP INDEX idx_templates_business_id_template_type",
        "ALTER TABLE stages DROP": "ALTER TABLE stages ADD COLUMN data_extraction_template_id varchar(255)",
        "ALTER TABLE templates ADD": "ALTER TABLE templates DROP COLUMN deleted_at",
        "ALTER TABLE templates RENAME": "ALTER TABLE other RENAME TO templates",
        "CREATE FUNCTION": "DROP FUNCTION soft_delete_stage(uuid)",
        "CREATE SCHEMA": "DROP SCHEMA audit",
        "UPDATE": "UPDATE stages SET data_extraction_template_id = NULL WHERE stage_name = '7'",
        "CREATE VIEW": "DROP VIEW seen",
    }
    prepared.execute(next(statement for begin, statement in undo.items() if obstacle.startswith(begin)))
    again = psql(prepared, f"{FILES[number]}.sql")
    assert (again.code, applied(prepared)) == (0, [number]), again.err
    assert psql(prepared, f"{FILES[number]}.rollback.sql").code == 0
    if "DROP COLUMN" not in obstacle:
        assert without_places(schema_dump(prepared)) == before


@contextmanager
def busy(application: Application, statement: str) -> Iterator[None]:
    """Another session in the middle of a transaction, or with a lock of its own."""
    other = psycopg2.connect(application.url)
    other.cursor().execute(statement)
    yield
    other.close()


LOCK_OF_THE_MOVE = (
    "SELECT pg_advisory_lock((('x' || encode(substring(sha256('table_move') FROM 1 FOR 4), 'hex'))::bit(32)::bigint"
    " & 2147483647)::int, (('x' || encode(substring(sha256('table_move/templates') FROM 1 FOR 4), 'hex'))::bit(32)::bigint"
    " & 2147483647)::int)"
)


@ONE_VERSION
def test_05_does_nothing_beside_a_run_of_the_move(prepared: Application) -> None:
    for file in (f"{FILES[5]}.sql", f"{FILES[5]}.rollback.sql"):
        before = schema_dump(prepared)
        with busy(prepared, LOCK_OF_THE_MOVE):
            answer = psql(prepared, file, stops=False)
        assert "is active" in answer.err
        assert schema_dump(prepared) == before
        done = applied(prepared)
        assert psql(prepared, f"{FILES[5]}.sql").code == 0
        assert applied(prepared) == [5]
        assert done in ([], [5])


@ONE_VERSION
def test_a_way_back_of_05_that_is_blocked_leaves_05_as_it_is(prepared: Application) -> None:
    assert psql(prepared, f"{FILES[5]}.sql").code == 0
    prepared.execute("CREATE VIEW seen AS SELECT data_extraction_template_id FROM stages")
    before, history = schema_dump(prepared), contents(prepared, "pipelines_migrations.changed_column")

    answer = psql(prepared, f"{FILES[5]}.rollback.sql", stops=False)

    assert "stand in the way" in answer.err
    assert schema_dump(prepared) == before
    assert (applied(prepared), contents(prepared, "pipelines_migrations.changed_column")) == ([5], history)
    prepared.execute("DROP VIEW seen")
    back = psql(prepared, f"{FILES[5]}.rollback.sql", stops=False)
    assert (back.err, applied(prepared)) == ("", [])
