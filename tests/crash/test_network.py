"""Bad weather between the command and the server: a bound on every wait, and the next run goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.application import Application
from tests.command import ROOT, environment
from tests.crash.nursery import Child, Nursery
from tests.crash.proxy import Proxy, Weather, proxy
from tests.crash.sweep import RUN, SEQUENCES, Sweep, sweep

FREEZE = b"TRIGGER pipelines_frozen"


@pytest.fixture(scope="module")
def whole(server: str, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    with sweep(server, nursery, SEQUENCES[0], str(tmp_path_factory.mktemp("reports"))) as found:
        yield found


@pytest.fixture
def way(whole: Sweep) -> Iterator[tuple[str, Proxy]]:
    """A database of the small move, and a proxy on the way to it."""
    with whole.copy() as url, proxy(url) as found:
        yield url, found


def goes_on(whole: Sweep, url: str) -> None:
    again = whole.call(url)
    assert again.code == 0, again.err
    assert whole.judge(url) == []


def in_phase(url: str, phase: str) -> None:
    with Application(url) as application:
        ends = time.monotonic() + 60
        while not (
            application.exists("pipelines.run")
            and application.value("SELECT count(*) FROM pipelines.run WHERE phase = %s", (phase,))
        ):
            assert time.monotonic() < ends, f"it does not come to {phase}"
            time.sleep(0.02)


@pytest.mark.exhaustive
def test_a_slow_way_is_no_reason_to_give_up(whole: Sweep, way: tuple[str, Proxy]) -> None:
    url, found = way
    found.weather = Weather(delay=0.002)
    slow = whole.call(found.url())
    assert slow.code == 0, slow.err
    assert whole.judge(url) == []


@pytest.mark.parametrize(
    "count", [10_000, *(pytest.param(count, marks=pytest.mark.exhaustive) for count in (100, 1_000, 20_000, 40_000))]
)
def test_a_connection_that_breaks_after_some_bytes_ends_the_run_and_the_next_one_goes_on(
    whole: Sweep, way: tuple[str, Proxy], count: int
) -> None:
    url, found = way
    found.weather = Weather(cut_after=count)
    broken = whole.call(found.url())
    assert found.cuts > 0, "there was something to get over"
    assert broken.code == 7, broken.err
    goes_on(whole, url)


@pytest.mark.parametrize(
    "phase", [*(pytest.param(phase, marks=pytest.mark.exhaustive) for phase in ("copy", "verify")), "cutover"]
)
def test_connections_that_are_reset_end_the_run_and_the_next_one_goes_on(
    whole: Sweep, way: tuple[str, Proxy], phase: str
) -> None:
    url, found = way
    found.weather = Weather(delay=0.002)
    going = whole.start(found.url())
    in_phase(url, phase)
    found.weather = Weather(reset=True)
    ended = going.wait()
    assert ended.code == 7, ended.err
    goes_on(whole, url)


@pytest.mark.exhaustive
def test_a_server_that_refuses_or_does_not_answer_is_given_up_within_the_bound(
    whole: Sweep, way: tuple[str, Proxy]
) -> None:
    url, found = way
    for weather, bound in ((Weather(refuse=True), 5), (Weather(swallow=True), 15)):
        found.weather = weather
        started = time.monotonic()
        ended = whole.call(found.url())
        assert ended.code == 7, ended.err
        assert time.monotonic() - started < bound, weather
    goes_on(whole, url)


@pytest.mark.parametrize(
    ("forwarded", "refused"),
    [
        (False, 0),
        (True, 1.5),
        *(pytest.param(*case, marks=pytest.mark.exhaustive) for case in ((False, 1.5), (True, 0))),
    ],
)
def test_after_a_switch_whose_commit_was_not_answered_the_run_knows_whether_it_happened(
    whole: Sweep, way: tuple[str, Proxy], forwarded: bool, refused: float
) -> None:
    url, found = way
    found.weather = Weather(commit_of=FREEZE, forwarded=forwarded, refuse_after_cut=refused)
    ended = whole.call(found.url())
    assert found.cuts == 1
    if forwarded:
        assert ended.code == 0, ended.err
        assert whole.judge(url) == []
        return
    assert ended.code == 7, ended.err
    with Application(url) as application:
        assert application.value("SELECT milestone FROM pipelines.move") == "copying"
        assert application.value("SELECT count(*) FROM pg_trigger WHERE tgname = 'pipelines_frozen'") == 0
        application.template("the old world goes on")
        application.execute("DELETE FROM prompt_templates WHERE template_id = 'the old world goes on'")
        keys = "SELECT count(*), bool_and(convalidated = (conname = 'one')) FROM pg_constraint WHERE conname IN ('one', 'two')"
        assert application.rows(keys) == [(2, True)], "the foreign keys are back as they were"
    goes_on(whole, url)


@pytest.mark.parametrize("forwarded", [False, True])
@pytest.mark.parametrize("what", [b"pipelines.batch", b"SET SCHEMA", b"foreign_key"])
@pytest.mark.exhaustive
def test_any_other_commit_that_was_not_answered_is_settled_by_the_next_run(
    whole: Sweep, way: tuple[str, Proxy], what: bytes, forwarded: bool
) -> None:
    url, found = way
    found.weather = Weather(commit_of=what, forwarded=forwarded)
    ended = whole.call(found.url())
    assert found.cuts == 1
    assert ended.code in (0, 7), ended.err
    goes_on(whole, url)


def impatient(going: Child) -> int:
    """Ctrl-C, and once more where that does not help at once."""
    going.send(signal.SIGINT)
    time.sleep(2.5)
    going.send(signal.SIGINT)
    return going.wait().code


@pytest.mark.exhaustive
def test_a_swallowed_statement_is_ended_by_a_second_signal_and_the_server_lets_go_of_the_switch_by_itself(
    whole: Sweep, way: tuple[str, Proxy], nursery: Nursery, tmp_path
) -> None:
    url, found = way
    found.weather = Weather(delay=0.005)
    going = nursery.start(found.url(), *RUN, "--max-write-pause", "3s", "--report-dir", str(tmp_path))
    held = "SELECT count(*) FROM pg_locks WHERE relation = 'stages'::regclass AND mode = 'ShareRowExclusiveLock' AND granted"
    with Application(url) as application:
        ends = time.monotonic() + 60
        while not application.value(held):
            assert time.monotonic() < ends
            time.sleep(0.005)
        found.weather = Weather(swallow=True)
        started = time.monotonic()
        application.execute("UPDATE stages SET stage_name = stage_name")
        assert time.monotonic() - started < 8, "the writers go on: the server has its own deadline"
    started = time.monotonic()
    assert impatient(going) == 130
    assert time.monotonic() - started < 15, "a session that is being opened ends with its own bound"
    found.weather = Weather()
    goes_on(whole, url)


@pytest.mark.exhaustive
def test_packets_that_vanish_are_noticed_by_both_ends(whole: Sweep, tmp_path) -> None:
    """In a network namespace of its own, where the way can be taken away altogether."""
    probe = subprocess.run(["unshare", "-n", "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no network namespace of its own is to be had here")
    with whole.copy() as url:
        done = subprocess.run(
            ["unshare", "-n", sys.executable, "-m", "tests.crash.vanishing", url, str(tmp_path)],
            cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        code, seconds = done.stdout.split()
        assert int(code) == 7, done.stderr
        assert float(seconds) < 45
        goes_on(whole, url)
