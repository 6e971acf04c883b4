"""A command that falls asleep in front of a COMMIT, or in the middle of what it sends: nobody waits for it for long."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from tests.application import Application
from tests.crash.faults import Fault
from tests.crash.nursery import Nursery
from tests.crash.proxy import Weather, proxy
from tests.crash.sweep import SEQUENCES, Sequence, Sweep, sweep

PAUSE = "3s"
PATIENCE = 40  # seconds: the longest bound is 15, and the machine may have more to do

# What the application does, in a transaction that it takes back; where a table is gone, or frozen, it is told so at once.
ASKED = (
    "SELECT count(*) FROM prompt_templates",
    "SELECT count(*) FROM templates",
    "SELECT count(*) FROM stages",
    "SELECT count(*) FROM businesses",
    "INSERT INTO prompt_templates (template_id, template_text) VALUES ('while they sleep', '')",
    "UPDATE prompt_templates SET description = description",
    "UPDATE templates SET template_name = template_name",
    "UPDATE stages SET stage_name = stage_name",
    "SELECT count(*) FROM (SELECT FROM businesses FOR UPDATE) one",
    "DELETE FROM stages",
    "LOCK TABLE businesses IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE stages, templates IN ACCESS EXCLUSIVE MODE",
)
TOLD = (psycopg2.errors.UndefinedTable, psycopg2.errors.ObjectNotInPrerequisiteState)


def kept_waiting(url: str) -> Iterator[str]:
    """What the application could not do within its patience."""
    with closing(psycopg2.connect(url, application_name="the application")) as session:
        for statement in ASKED:
            with session.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = '{PATIENCE}s'")
                try:
                    cursor.execute(statement)
                except TOLD:
                    pass
                except psycopg2.errors.QueryCanceled:
                    yield f"nobody can {statement}"
            session.rollback()


def kinds_of_sleep(found: Sweep) -> dict[str, Fault]:
    """In front of each kind of COMMIT, by what its transaction did, and in the middle of each kind of COPY."""
    kinds, did = {}, []
    for number, point in enumerate(found.points, 1):
        what = point.partition(" ")[2]
        if what == "COMMIT":
            kinds.setdefault(f"before COMMIT of {' | '.join(did)}", Fault(point=number, action="stop"))
            did = []
        elif "SET search_path" in what:
            did = []
        elif "COPY" in what and "FROM STDIN" in what:
            kinds.setdefault(f"amidst {what[:50]}", Fault(point=number, when="middle", action="stop"))
        elif not what.startswith(("SELECT", "SET", "[gate]", "SAVEPOINT", "RELEASE", "ANALYZE")):
            did.append(what[:50])
    return kinds


def sleep(found: Sweep, fault: Fault) -> list[str]:
    """Asleep, awake, and the command again: what is wrong."""
    with found.copy() as url:
        going = found.start(url, fault, max_write_pause=PAUSE)
        going.wait_until_stopped()
        wrong = list(kept_waiting(url))
        going.send(signal.SIGCONT)
        ended = going.wait()
        if ended.code not in (0, 6, 7):
            wrong.append(f"awake again it ended with {ended.code}: {ended.err[-1500:]}")
        again = found.again(url)
        if again.code != 0:
            wrong.append(f"the command given again ended with {again.code}: {again.err[-1500:]}")
        return wrong + found.judge(url)


VERBS = [one for one in SEQUENCES if one.ends == 0 and "disturbed" not in one.name]


@pytest.mark.parametrize("sequence", VERBS, ids=lambda sequence: sequence.name)
@pytest.mark.exhaustive
def test_nobody_waits_for_a_command_that_sleeps(
    server: str, nursery: Nursery, tmp_path, sequence: Sequence, record_property
) -> None:
    with sweep(server, nursery, sequence, str(tmp_path)) as found:
        kinds = kinds_of_sleep(found)
        wrong = {kind: problems for kind, fault in kinds.items() if (problems := sleep(found, fault))}
    record_property(f"points: asleep, {sequence.name}", len(kinds))
    assert not wrong, "\n".join(f"{kind}: {problems}" for kind, problems in wrong.items())


@pytest.mark.parametrize(
    ("verb", "label"),
    [
        ("run", "DROP CONSTRAINT"),
        ("run", "TRIGGER pipelines_frozen"),
        ("run", "SET SCHEMA"),
        ("run", 'INSERT INTO "public"."templates"'),
        ("rollback", "SET SCHEMA"),
        ("rollback", "ADD CONSTRAINT"),
        ("purge", "DROP TABLE"),
    ],
)
def test_nobody_waits_for_a_command_that_sleeps_in_front_of_a_commit(
    server: str, nursery: Nursery, tmp_path, verb: str, label: str
) -> None:
    sequence = next(one for one in SEQUENCES if one.name == verb)
    with sweep(server, nursery, sequence, str(tmp_path)) as found:
        assert sleep(found, Fault(point=found.point(label, "COMMIT"), action="stop")) == []


@pytest.mark.parametrize("label", [b"DROP CONSTRAINT", b"TRIGGER pipelines_frozen", b"SET SCHEMA"])
@pytest.mark.exhaustive
def test_nobody_waits_for_a_commit_that_the_network_swallows(
    server: str, nursery: Nursery, tmp_path, label: bytes
) -> None:
    with sweep(server, nursery, SEQUENCES[0], str(tmp_path)) as found, found.copy() as url, proxy(url) as way:
        way.weather = Weather(commit_of=label, swallowed=True)
        going = found.start(way.url(), max_write_pause=PAUSE)
        ends = time.monotonic() + 60
        while not way.weather.swallow:
            assert time.monotonic() < ends
            time.sleep(0.02)
        assert list(kept_waiting(url)) == []
        way.weather = Weather(reset=True)
        assert going.wait().code in (6, 7)
        way.weather = Weather()
        assert found.again(url).code == 0
        assert found.judge(url) == []


def test_who_waits_is_seen(server: str, nursery: Nursery, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge itself: a lock that stays is noticed."""
    monkeypatch.setattr("tests.crash.test_asleep.PATIENCE", 1)
    with sweep(server, nursery, SEQUENCES[0], str(tmp_path)) as found, found.copy() as url:
        with closing(psycopg2.connect(url)) as other, other.cursor() as cursor:
            cursor.execute("LOCK TABLE stages IN ACCESS EXCLUSIVE MODE")
            assert "nobody can SELECT count(*) FROM stages" in list(kept_waiting(url))
        with Application(url) as application:
            assert application.value("SELECT count(*) FROM stages") > 0
