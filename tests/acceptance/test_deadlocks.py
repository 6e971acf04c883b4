"""The newest installations, where every copied row takes locks in an order of its own: nobody is a deadlock's victim."""

from __future__ import annotations

import threading
import time
from uuid import uuid4

import psycopg2
import pytest

from tests import generation_c
from tests.application import Application
from tests.command import call, run, start

NAMES = 400


class Inserting:
    """Somebody who goes on inserting templates with the same placeholders, several in one transaction."""

    def __init__(self, url: str, seed: int) -> None:
        self.done, self.problems = 0, []
        self._url, self._seed, self._stop = url, seed, threading.Event()
        self._thread = threading.Thread(target=self._insert)

    def __enter__(self) -> Inserting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _insert(self) -> None:
        session = psycopg2.connect(self._url, application_name="the application")
        number = 0
        while not self._stop.is_set():
            try:
                with session, session.cursor() as cursor:
                    for _ in range(5):
                        number += 1
                        names = generation_c.shuffled(self._seed * 1_000_000 + number, of=NAMES, many=20)
                        cursor.execute(
                            "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
                            " SELECT %s, business_id, 'new', 'data_extraction', %s FROM businesses",
                            (str(uuid4()), generation_c.text_with(names)),
                        )
                        cursor.execute("SELECT pg_sleep(0.01)")
                self.done += 1
            except psycopg2.Error as problem:
                self.problems.append(problem.pgcode)
        session.close()


def deadlocks(application: Application) -> int:
    application.execute("SELECT pg_stat_force_next_flush()")
    return application.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")


def test_workers_that_meet_at_unique_names_of_a_trigger_go_on_alone(application: Application, tmp_path) -> None:
    generation_c.fill(application, rows=200, names=NAMES, in_each=30)
    done = run(application.url, tmp_path, "--workers", "4", "--batch-bytes", "20kB")
    assert done.code == 0, done.err
    assert application.value("SELECT count(*) FROM templates") == 200
    assert application.value("SELECT count(*) FROM template_variables") == NAMES
    assert application.rows(generation_c.USED) == [(0, 0)]
    assert deadlocks(application) == 0


def test_an_application_that_takes_the_same_names_in_another_order_is_nobodys_victim(
    application: Application, tmp_path
) -> None:
    generation_c.fill(application, rows=200, names=NAMES, in_each=30)
    with Inserting(application.url, 1) as other:  # one session: two of them would meet each other
        done = run(application.url, tmp_path, "--workers", "4", "--batch-bytes", "20kB")
    assert done.code == 0, done.err
    assert other.done > 0
    assert set(other.problems) <= {"23505"}, "the trigger's own; but nobody ended it for our sake"
    assert deadlocks(application) == 0
    assert application.rows(generation_c.USED) == [(0, 0)]


SLOW = """
CREATE TABLE names (name text PRIMARY KEY);
CREATE FUNCTION note_name() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_sleep(0.7);
    INSERT INTO names SELECT NEW.content ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER note_name AFTER INSERT ON templates FOR EACH ROW EXECUTE FUNCTION note_name();
"""


@pytest.mark.parametrize("held", ["one", "two"])  # whichever of them we write last closes the circle
def test_who_has_waited_for_us_longer_than_we_wait_for_them_is_no_victim_either(
    application: Application, tmp_path, held: str
) -> None:
    """Its look for a deadlock comes `deadlock_timeout` after its own wait began, whenever ours did."""
    application.execute(SLOW)
    business = application.business(1)
    for name in ("one", "two"):
        application.template(f"old-{name}", name)
    application.stage(1, business, "old-one")
    going = start("run", "--json", "--grace", "0s", "--report-dir", str(tmp_path), DATABASE_URL=application.url)
    with psycopg2.connect(application.url) as other, other.cursor() as cursor:
        cursor.execute("INSERT INTO names VALUES (%s)", (held,))
        at_work = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query ~ '(INTO|COPY) \"public\".\"templates\"'"
        ends = time.monotonic() + 60
        while not application.value(at_work):
            assert time.monotonic() < ends
            time.sleep(0.01)
        cursor.execute("SELECT pg_sleep(0.8)")
        cursor.execute("INSERT INTO names VALUES ('one'), ('two') ON CONFLICT DO NOTHING")
    other.close()
    _, err = going.communicate(timeout=120)
    assert going.returncode == 0, err
    assert application.value("SELECT count(*) FROM templates") == 2
    assert deadlocks(application) == 0


def test_on_the_way_back_nobody_is_a_victim_either(application: Application, tmp_path) -> None:
    generation_c.fill(application, rows=200, names=NAMES, in_each=30)
    assert run(application.url, tmp_path).code == 0
    with Inserting(application.url, 1) as other:
        options = ("--json", "--yes", "--accept-loss", "--report-dir", str(tmp_path))
        back = call("rollback", *options, DATABASE_URL=application.url)
    assert back.code == 0, back.err
    assert application.value("SELECT count(*) FROM prompt_templates") == 200
    assert application.value("SELECT count(*) FROM templates WHERE template_name <> 'new'") == 0
    assert set(other.problems) <= {"23505"}
    assert deadlocks(application) == 0
    assert application.rows(generation_c.USED) == [(0, 0)]


def test_where_the_server_looks_for_deadlocks_at_once_the_move_comes_to_its_end(
    application: Application, tmp_path
) -> None:
    application.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = 10', current_database()); END $$"
    )
    generation_c.fill(application, rows=60, names=NAMES, in_each=30)
    done = run(application.url, tmp_path, "--workers", "4", "--batch-bytes", "20kB")
    assert done.code == 0, done.err
    assert application.rows(generation_c.USED) == [(0, 0)]


def test_a_row_that_only_a_trigger_wants_ends_the_run_in_time_and_names_who_holds_it(
    application: Application, tmp_path
) -> None:
    generation_c.fill(application, rows=20, names=10, in_each=5)
    with psycopg2.connect(application.url, application_name="month-end report") as other:
        other.cursor().execute(
            "INSERT INTO template_variables (variable_name, description, category) VALUES ('name_1', '', '')"
        )
        refused = run(application.url, tmp_path, "--lock-wait", "2s")
        assert refused.code == 6, refused.err
        assert f"pid {other.info.backend_pid} (month-end report) has written and is open" in refused.err
        other.rollback()
    other.close()
    assert run(application.url, tmp_path).code == 0
    assert application.rows(generation_c.USED) == [(0, 0)]


@pytest.mark.parametrize("name", ["01_cleanup_template_tables", "04_audit_log"])
def test_a_numbered_migration_that_gets_no_lock_names_who_holds_it(application: Application, name: str) -> None:
    application.business(1)
    with psycopg2.connect(application.url, application_name="month-end report") as other:
        more = {"module": "pipelines.migrations", "DATABASE_URL": application.url}
        if name.startswith("04"):
            assert call("up", "--to", "3", **more).code == 0
        other.cursor().execute("LOCK TABLE stages IN ROW EXCLUSIVE MODE")
        refused = call("run", "--file", f"sql/{name}.sql", **more)
        assert refused.code == 6, refused.err
        assert f"pid {other.info.backend_pid} (month-end report) holds RowExclusiveLock" in refused.err
    other.close()
    assert call("run", "--file", f"sql/{name}.sql", **more).code == 0
