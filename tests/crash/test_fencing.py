"""One run at a time, also where one of them was asleep: whoever lost the lock writes nothing more."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.application import Application
from tests.crash.faults import Fault
from tests.crash.final_state import differences, final_state
from tests.crash.nursery import Nursery
from tests.crash.sweep import SEQUENCES, Sweep, sweep

HOLDER = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"


@pytest.fixture(scope="module")
def whole(server: str, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    with sweep(server, nursery, SEQUENCES[0], str(tmp_path_factory.mktemp("reports"))) as found:
        yield found


def take_the_lock_away(application: Application) -> None:
    application.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM ({HOLDER}) holder")
    assert application.rows(HOLDER) == []


FIRST = "SELECT pg_catalog.pg_backend_pid(), system_identifier"  # of every session

# Between two transactions, so that nothing keeps the other run from taking over.
BETWEEN = {
    "before the first batch": ("FOR SHARE", "INTO \"public\".\"templates\""),
    "before the release": ("LOCK TABLE \"public\".\"prompt_templates\"",),
    "before the switch": ("LOCK TABLE \"public\".\"prompt_templates\", \"public\".\"stages\" IN SHARE ROW",),
    "after the switch": ("TRIGGER pipelines_frozen", "COMMIT", FIRST),
    "before the retirement": ("IN ACCESS EXCLUSIVE MODE", "TRIGGER pipelines_frozen", "IN ACCESS EXCLUSIVE MODE"),
    "before the end": ("IN ACCESS EXCLUSIVE MODE", "TRIGGER pipelines_frozen", "DELETE FROM pipelines.claim"),
}  # fmt: skip


def start_of_transaction(found: Sweep, number: int) -> int:
    """The point at which the session of this one was opened or its last transaction ended."""
    while FIRST not in found.points[number - 1]:
        number -= 1
    return number


@pytest.mark.parametrize(
    "place",
    [pytest.param(place, marks=[] if place == "before the switch" else pytest.mark.exhaustive) for place in BETWEEN],
)
def test_a_run_that_wakes_up_after_another_one_took_over_writes_nothing(whole: Sweep, place: str) -> None:
    point = start_of_transaction(whole, whole.point(*BETWEEN[place]))
    with whole.copy() as url, Application(url) as application:
        asleep = whole.start(url, Fault(point=point, action="stop"))
        asleep.wait_until_stopped()
        take_the_lock_away(application)

        other = whole.call(url)
        assert other.code == 0, other.err
        before, places = final_state(application), application.places()
        asleep.send(signal.SIGCONT)
        ended = asleep.wait()

        assert ended.code == 7, ended.err
        assert "lost" in ended.err or "took over" in ended.err
        assert differences(final_state(application), before) == {}
        after = application.places()
        del places["pipelines.run"], after["pipelines.run"]  # its own row says how it ended
        assert after == places
        assert whole.judge(url) == []


def test_a_run_that_commits_the_switch_while_another_one_waits_to_take_over_is_followed(whole: Sweep) -> None:
    point = whole.point("TRIGGER pipelines_frozen", "COMMIT")
    with whole.copy() as url, Application(url) as application:
        asleep = whole.start(url, Fault(point=point, action="stop"))
        asleep.wait_until_stopped()
        take_the_lock_away(application)
        other = whole.start(url)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%pipelines.move%%'"
        )
        until(lambda: application.value(waiting, ()))
        asleep.send(signal.SIGCONT)

        assert asleep.wait().code == 7, "it may not go on"
        followed = other.wait()
        assert followed.code == 7, followed.err
        assert "came to switched" in followed.err
        assert whole.call(url).code == 0
        assert whole.judge(url) == []


@pytest.mark.exhaustive
def test_a_run_that_sleeps_in_a_transaction_is_ended_by_the_server_and_another_one_goes_on(whole: Sweep) -> None:
    point = whole.point("INTO \"public\".\"templates\"")  # fmt: skip
    with whole.copy() as url, Application(url) as application:
        asleep = whole.start(url, Fault(point=point, action="stop"))
        asleep.wait_until_stopped()
        take_the_lock_away(application)
        other = whole.call(url)
        assert other.code == 0, other.err
        asleep.send(signal.SIGCONT)
        assert asleep.wait().code in (6, 7)
        assert whole.judge(url) == []


@pytest.mark.parametrize("label", ["INTO \"public\".\"templates\"", "TRIGGER pipelines_frozen"])  # fmt: skip
def test_a_lost_lock_is_noticed_before_the_next_commit_but_one(whole: Sweep, label: str) -> None:
    """In the middle of a transaction the fence keeps everybody out; the next one does not begin."""
    point = whole.point(label)
    with whole.copy() as url, Application(url) as application:
        going = whole.start(url, Fault(point=point, action="stop"))
        going.wait_until_stopped()
        batches = application.value("SELECT count(*) FROM pipelines.batch")
        take_the_lock_away(application)
        going.send(signal.SIGCONT)
        ended = going.wait()
        assert ended.code == 7, ended.err
        assert "held the lock of this move was lost" in ended.err
        assert application.value("SELECT count(*) FROM pipelines.batch") <= batches + 1
        assert application.exists("public.prompt_templates")
        assert whole.call(url).code == 0
        assert whole.judge(url) == []


def until(happened, *, seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.02)
