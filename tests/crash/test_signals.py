"""Signals, a reader that goes away, a worker that fails: an end in order, and the next run goes on."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.application import Application
from tests.command import ROOT, environment
from tests.crash.faults import Fault
from tests.crash.nursery import Nursery
from tests.crash.sweep import RUN, SEQUENCES, Sweep, sweep

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(scope="module")
def whole(server: str, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    with sweep(server, nursery, SEQUENCES[0], str(tmp_path_factory.mktemp("reports"))) as found:
        yield found


PLACES = {
    "in the copy": ('INTO "public"."templates"',),
    "in the gate": ("[gate]", "[gate]", "[gate]"),
    "in the switch": ("WITH n AS MATERIALIZED",),
    "in the retirement": ("CREATE SCHEMA \"pipelines_retired",),
}  # fmt: skip


@pytest.mark.parametrize(
    ("number", "place"),
    [
        pytest.param(number, place, marks=[] if (number, place) == (signal.SIGTERM, "in the switch") else pytest.mark.exhaustive)
        for number in CODES
        for place in PLACES
    ],
)  # fmt: skip
def test_a_signal_ends_the_run_in_order_and_the_next_one_goes_on(
    whole: Sweep, number: signal.Signals, place: str
) -> None:
    with whole.copy() as url, Application(url) as application:
        going = whole.start(url, Fault(point=whole.point(*PLACES[place]), action="stop"))
        going.wait_until_stopped()
        going.send(number)
        going.send(signal.SIGCONT)
        ended = going.wait()
        assert ended.code == CODES[number], ended.err
        assert "This is a bug" not in ended.err
        assert application.value("SELECT state FROM pipelines.run ORDER BY run_id DESC LIMIT 1") == "interrupted"
        assert whole.call(url).code == 0
        assert whole.judge(url) == []


def test_a_doubled_signal_does_not_disturb_the_end_that_is_under_way(whole: Sweep) -> None:
    with whole.copy() as url, Application(url) as application:
        going = whole.start(url, Fault(point=whole.point(*PLACES["in the switch"]), action="stop"))
        going.wait_until_stopped()
        going.send(signal.SIGINT)
        going.send(signal.SIGCONT)
        for _ in range(5):
            time.sleep(0.05)
            going.send(signal.SIGINT)
        ended = going.wait()
        assert ended.code == 130, ended.err
        assert application.value("SELECT state FROM pipelines.run ORDER BY run_id DESC LIMIT 1") == "interrupted"
        assert whole.call(url).code == 0
        assert whole.judge(url) == []


@pytest.mark.parametrize("as_json", [False, True])
def test_a_reader_that_goes_away_is_no_reason_to_stop_a_move(whole: Sweep, tmp_path: Path, as_json: bool) -> None:
    """`run | head -1`."""
    options = RUN if as_json else tuple(option for option in RUN if option != "--json")
    with whole.copy() as url:
        command = [sys.executable, "-m", "pipelines.templates", *options, "--report-dir", str(tmp_path)]
        going = subprocess.Popen(
            command, cwd=ROOT, env=environment(DATABASE_URL=url), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if not as_json:
            going.stdout.readline()
        going.stdout.close()
        said = going.stderr.read()
        assert going.wait(120) == 0, said
        assert "BrokenPipe" not in said
        assert whole.judge(url) == []


def test_a_worker_that_fails_stops_the_others_and_the_next_run_goes_on(
    whole: Sweep, nursery: Nursery, tmp_path: Path
) -> None:
    """Two at a time, one of which loses its session."""
    point = whole.point('INTO "public"."templates"')
    options = tuple("2" if one == "1" else one for one in RUN)
    with whole.copy() as url:
        fault = Fault(point=point, action="terminate")
        ended = nursery.call(url, *options, "--report-dir", str(tmp_path), fault=fault)
        assert ended.code == 7, ended.err
        assert whole.call(url).code == 0
        assert whole.judge(url) == []


@pytest.mark.parametrize("place", ["summary.json", "report.html"])
def test_a_client_whose_disk_is_full_says_that_the_move_stands_without_its_report(
    whole: Sweep, tmp_path: Path, place: str
) -> None:
    """A file may not grow here; what the database holds is not touched by that."""
    size = {"summary.json": 10, "report.html": 9_000}[place]
    with whole.copy() as url:
        command = [sys.executable, "-m", "pipelines.templates", *RUN, "--report-dir", str(tmp_path / "reports")]
        done = subprocess.run(
            command, cwd=ROOT, env=environment(DATABASE_URL=url), capture_output=True, text=True, timeout=240, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        )  # fmt: skip
        assert done.returncode == 74, done.stderr[-2000:]
        assert "This is a bug" not in done.stderr
        assert whole.call(url).code == 0
        assert whole.judge(url) == []
