"""A run while an application writes and reads at full speed. The long version is `python -m tests.crash.under_load`."""

from __future__ import annotations

import random
import threading
import time
from contextlib import closing, suppress

import psycopg2
import pytest

from pipelines.templates import demo
from tests.conftest import empty_database
from tests.crash.under_load import QUESTIONS, lost, run_under_load

DEFECTS = dict(
    zip(
        QUESTIONS,
        (
            "ALTER TABLE {old} DISABLE TRIGGER pipelines_frozen; UPDATE {old} SET template_text = 'older' WHERE template_id = 'writer-0-3'",
            "DELETE FROM templates WHERE template_id IN (SELECT target_id FROM pipelines.id_map WHERE source_id = 'writer-1-5' LIMIT 1)",
            "UPDATE pipelines.id_map SET source_id = 'passing-2-1' WHERE source_id = 'writer-2-1'",
            "INSERT INTO templates SELECT gen_random_uuid(), business_id, 'again', 't', content FROM templates"
            " WHERE template_id IN (SELECT target_id FROM pipelines.id_map WHERE source_id = 'writer-3-1')",
            "UPDATE stages SET stage_name = 'older' WHERE stage_id = '00000000-0000-0000-0000-000000002711'",
            "UPDATE stages SET data_extraction_template_id = (SELECT min(template_id::text) FROM templates)"
            " WHERE stage_id = '00000000-0000-0000-0000-000000002711'",
        ),
        strict=False,
    )
)


def test_no_acknowledged_write_is_lost_or_doubled_and_what_judges_that_sees_each_planted_fault(
    server: str, tmp_path
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    with empty_database(server) as url:
        with closing(psycopg2.connect(url)) as connection:
            demo.create(connection, rows=1_000)

        found = run_under_load(url, str(tmp_path), chance=random.Random(seed))

        assert found.wrong == []
        assert found.writes > 500, "the application was at work"
        assert found.refused["55000"] > 0, "and met the freeze"
        assert found.write_wait < found.said_pause + 2_000, "the pause is what the run says it was"
        for question, statement in DEFECTS.items():
            assert question in planted(url, found.writers, statement), statement
        provoke_a_deadlock(url)
        assert "deadlocks" in str(lost(url, found.writers))


def planted(url: str, writers, statement: str) -> list[str]:
    """The questions that see this, which is then undone."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT retired_schema FROM pipelines.move")
        old = f"{cursor.fetchone()[0]}.prompt_templates"
        cursor.execute(statement.replace("{old}", old))
        assert cursor.rowcount != 0, statement
        said = lost(url, writers, cursor)
        connection.rollback()
    return [question for question in QUESTIONS if any(question in one for one in said)]


def provoke_a_deadlock(url: str) -> None:
    def both(first: int, second: int) -> None:
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (first,))
            time.sleep(0.5)
            with suppress(psycopg2.errors.DeadlockDetected):
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (second,))

    threads = [threading.Thread(target=both, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.exhaustive
@pytest.mark.parametrize("bound", ["1ms", "300ms"])
def test_a_pause_over_the_bound_leaves_the_application_in_the_old_world(server: str, tmp_path, bound: str) -> None:
    with empty_database(server) as url:
        with closing(psycopg2.connect(url)) as connection:
            demo.create(connection, rows=3_000)
        found = run_under_load(url, str(tmp_path), chance=random.Random(1), more=("--max-write-pause", bound))
        assert "ended with 6" in found.wrong[0]
        assert found.refused == {}, "no application error at all before the switch"
        # The server's own deadline stands a second above the bound.
        assert found.write_wait < 4_000
