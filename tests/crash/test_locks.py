"""Locks that others hold: given up in time, with who it was; the old world untouched and unfrozen."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest

from pipelines.table_move.database.lock import lock_key
from tests.application import Application
from tests.conftest import empty_database
from tests.crash import small_move
from tests.crash.nursery import Nursery
from tests.crash.sweep import RUN
from tests.crash.test_fencing import until

BRIEF = ("--lock-wait", "2s", "--lock-timeout", "200ms")


@pytest.fixture
def application(server: str) -> Iterator[Application]:
    with empty_database(server) as url, Application(url) as found:
        small_move.fill(found)
        yield found


@contextmanager
def held(application: Application, *statements: str) -> Iterator[int]:
    """A transaction of somebody else's that has executed these and does nothing more. Gives its pid."""
    with closing(psycopg2.connect(application.url, application_name="month-end report")) as other:
        for statement in statements:
            other.cursor().execute(statement)
        yield other.get_backend_pid()


def keys(application: Application) -> list:
    return application.rows(
        "SELECT conname, convalidated, obj_description(oid) FROM pg_constraint"
        " WHERE confrelid = to_regclass('prompt_templates') ORDER BY 1"
    )


def is_the_old_world(application: Application) -> None:
    application.template("unfrozen")
    application.execute("DELETE FROM prompt_templates WHERE template_id = 'unfrozen'")
    assert application.value("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0
    assert application.value("SELECT milestone FROM pipelines.move") == "copying", "what the journal has is a plan"


EVERY = (
    "LOCK TABLE stages IN ROW EXCLUSIVE MODE",
    "LOCK TABLE prompt_templates IN ROW EXCLUSIVE MODE",
    "SELECT FROM stages ORDER BY stage_id LIMIT 1 FOR UPDATE",
    "SELECT FROM prompt_templates LIMIT 1",
    "LOCK TABLE stages IN SHARE UPDATE EXCLUSIVE MODE",
    "SELECT FROM stages ORDER BY stage_id LIMIT 1 FOR KEY SHARE",
)


@pytest.mark.parametrize(
    "statement", [*EVERY[:1], *(pytest.param(one, marks=pytest.mark.exhaustive) for one in EVERY[1:])]
)
def test_a_lock_that_is_not_to_be_had_ends_the_run_and_names_who_holds_it(
    application: Application, nursery: Nursery, tmp_path, statement: str
) -> None:
    before = keys(application)
    with held(application, statement) as pid:
        ended = nursery.call(application.url, *RUN, *BRIEF, "--report-dir", str(tmp_path))
        assert ended.code == 6, ended.err
        assert f"pid {pid} (month-end report) holds" in ended.err
        is_the_old_world(application)
    assert keys(application) == before
    assert nursery.call(application.url, *RUN, "--report-dir", str(tmp_path)).code == 0


@pytest.mark.parametrize("table", ["templates", pytest.param("stages", marks=pytest.mark.exhaustive)])
def test_a_table_that_somebody_locks_after_the_release_ends_the_run_and_the_foreign_keys_come_back(
    application: Application, nursery: Nursery, tmp_path, table: str
) -> None:
    before = keys(application)
    stop = threading.Event()

    def take() -> None:
        """As soon as the foreign keys have left, somebody begins to write for a long time."""
        while keys(observer) == before and not stop.is_set():
            time.sleep(0.001)
        with held(application, f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE"):
            stop.wait(60)

    with Application(application.url) as observer:
        somebody = threading.Thread(target=take)
        somebody.start()
        ended = nursery.call(application.url, *RUN, *BRIEF, "--report-dir", str(tmp_path))
        still_away = keys(application) == []
        stop.set()
        somebody.join()
    assert ended.code == 6, ended.err
    assert "month-end report" in ended.err
    if table == "templates":
        assert keys(application) == before
    else:  # whoever writes to the table of the key keeps it away; that is said, and the next one brings it back
        assert still_away
        assert "Foreign keys to the old table are still away" in ended.err
        stopped = nursery.call(application.url, *RUN, "--until", "copy", "--report-dir", str(tmp_path))
        assert stopped.code == 0, stopped.err
        assert keys(application) == before
    is_the_old_world(application)
    assert nursery.call(application.url, *RUN, "--report-dir", str(tmp_path)).code == 0


def test_a_reader_that_idles_in_a_transaction_delays_the_others_by_no_more_than_lock_timeout(
    application: Application, nursery: Nursery, tmp_path
) -> None:
    """The lock that the retirement waits for makes every other reader wait behind it."""
    options = (*RUN, "--lock-timeout", "200ms", "--grace", "1s", "--report-dir", str(tmp_path))
    going = nursery.start(application.url, *options)
    until(lambda: application.exists("pipelines.move") and application.value("SELECT milestone FROM pipelines.move") == "switched", seconds=60)  # fmt: skip
    longest = 0.0
    with held(application, "SELECT FROM prompt_templates LIMIT 1") as pid:
        ends = time.monotonic() + 4
        while time.monotonic() < ends:
            started = time.monotonic()
            application.rows("SELECT FROM prompt_templates LIMIT 1")
            longest = max(longest, time.monotonic() - started)
            time.sleep(0.005)
        ended = going.wait()
    assert ended.code == 6, ended.err
    assert f"pid {pid} (month-end report)" in ended.err
    assert 0.1 < longest < 0.2 + 0.25, "it did wait, and not for long"
    assert application.value("SELECT milestone FROM pipelines.move") == "switched"
    assert nursery.call(application.url, *RUN, "--report-dir", str(tmp_path)).code == 0


def test_the_lock_of_a_move_in_the_hands_of_another_program_is_told(
    application: Application, nursery: Nursery, tmp_path
) -> None:
    lock = "SELECT pg_advisory_lock({class}, {object})".format(**lock_key("templates"))
    with held(application, lock) as pid:
        ended = nursery.call(application.url, *RUN, "--report-dir", str(tmp_path))
    assert ended.code == 5, ended.err
    assert f"pid {pid}, application 'month-end report'" in ended.err
    assert not application.exists("pipelines.move")


@pytest.mark.parametrize("table", ["prompt_templates", "stages", "templates"])
@pytest.mark.exhaustive
def test_a_table_that_somebody_rebuilds_is_waited_for_no_longer_than_lock_wait(
    application: Application, nursery: Nursery, tmp_path, table: str
) -> None:
    """ACCESS EXCLUSIVE, so that not even the plan can read."""
    with held(application, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE") as pid:
        for verb in (RUN[:-4], ("plan", "--json", "--default-business", small_move.DEFAULT), ("status", "--json")):
            started = time.monotonic()
            more = ("--report-dir", str(tmp_path)) if verb[0] == RUN[0] else ()
            ended = nursery.call(application.url, *verb, *more, lock_wait="2s")
            assert time.monotonic() - started < 20
            assert ended.code == 6, (verb, ended)
            assert f"pid {pid} (month-end report) holds AccessExclusiveLock" in ended.json["error"]
