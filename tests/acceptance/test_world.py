"""Where the world stands is said first, by every verb and every error, in each state of a move; judged by what a write to
the old table really gets."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psycopg2
import pytest

from pipelines.table_move.database.lock import lock_key
from pipelines.table_move.pure.world import OLD_TAKES_WRITES, Stands
from tests.application import Application
from tests.command import Answer, run_here, start

# What a write to the old table gets, and where its rows are.
REALLY = {
    ("", "public"): {Stands.OLD_IN_CHARGE, Stands.ROLLED_BACK},
    ("55000", "public"): {Stands.SWITCHED},
    ("42P01", "pipelines_retired"): {Stands.RETIRED},
    ("42P01", ""): {Stands.PURGED},
}


def really(application: Application) -> set[Stands]:
    """By plain SQL: the worlds that this can be."""
    code = ""
    with psycopg2.connect(application.url) as connection, connection.cursor() as cursor:
        try:
            cursor.execute("INSERT INTO prompt_templates VALUES ('a write of the application', 'text')")
        except psycopg2.Error as problem:
            code = problem.pgcode
        connection.rollback()
        cursor.execute(
            "SELECT coalesce(max(rtrim(n.nspname, '_0123456789')), '') FROM pg_class c JOIN pg_namespace n"
            " ON n.oid = c.relnamespace WHERE c.relname = 'prompt_templates'"
        )
        return REALLY[code, cursor.fetchone()[0]]


def interrupted(application: Application, *arguments: str, when: str) -> Answer:
    """SIGINT once a query says true."""
    process = start(*arguments, "--json", DATABASE_URL=application.url)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if application.exists("pipelines.run") and application.value(when):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return Answer(process.returncode, out, err)


def told(answer: Answer, application: Application, *, code: int) -> Stands:
    """The world that an answer names, the same in the JSON and for people, and true."""
    assert answer.code == code, answer.err
    stands = Stands(answer.json["world"])
    sentence = answer.json["world_sentence"]
    assert stands in really(application), sentence
    assert sentence in answer.err
    assert ("takes reads and writes" in sentence or "no move has begun" in sentence) == (stands in OLD_TAKES_WRITES)
    server = answer.json["server"]
    assert server["database"] == application.value("SELECT current_database()")
    assert server["role"] == application.value("SELECT current_user::text")
    first = next(line for line in answer.err.splitlines() if line.strip())
    assert f"Database {server['database']}" in first
    if code:
        failure = answer.err.rpartition(sentence)[2]
        assert answer.json["error"].splitlines()[0] in failure, "the world stands before what happened"
    return stands


def every_error(application: Application, folder: Path) -> set[Stands]:
    """What cannot be understood, what is blocked, another run, an interrupt: in the state that the move is in."""
    url = {"DATABASE_URL": application.url}
    options = ["--json", "--report-dir", str(folder)]
    seen = set()
    for verb in ("plan", "status"):
        seen.add(told(run_here(verb, "--json", **url), application, code=0))
    blocked = run_here("run", *options, "--default-business", "Nobody", **url)
    seen.add(told(blocked, application, code=3))
    with psycopg2.connect(application.url) as other:
        other.cursor().execute("SELECT pg_advisory_lock(%(class)s, %(object)s)", lock_key("templates"))
        for verb in ("run", "rollback"):
            seen.add(told(run_here(verb, *options, **url), application, code=5))
    other.close()
    return seen


@pytest.fixture
def small(application: Application) -> Application:
    business = application.business(1)
    for name in ("a", "b"):
        application.template(name)
    application.stage(1, business, "a", "b")
    return application


def test_each_state_of_a_move_is_told_by_every_verb_and_error(small: Application, tmp_path: Path) -> None:
    options = ["--json", "--report-dir", str(tmp_path)]
    url = {"DATABASE_URL": small.url}

    assert every_error(small, tmp_path) == {Stands.OLD_IN_CHARGE}

    told(run_here("run", *options, "--until", "verify", **url), small, code=0)
    assert every_error(small, tmp_path) == {Stands.OLD_IN_CHARGE}

    answer = interrupted(
        small, "run", *options, "--grace", "1h", when="SELECT count(*) FROM pipelines.run WHERE phase = 'grace'"
    )
    assert told(answer, small, code=130) is Stands.SWITCHED
    assert every_error(small, tmp_path) == {Stands.SWITCHED}

    waiting = small.stage(2, small.business(2), "a")  # an old id, of a business that has no copy
    answer = run_here("run", *options, "--grace", "0s", **url)
    assert told(answer, small, code=8) is Stands.RETIRED
    assert "Decide between repair and rollback" in answer.err
    assert told(run_here("verify", *options, **url), small, code=8) is Stands.RETIRED
    assert every_error(small, tmp_path) == {Stands.RETIRED}

    small.execute("DELETE FROM stages WHERE stage_id = %s", (waiting,))
    small.execute("UPDATE stages SET stage_selection_template_id = 'a'")
    assert told(run_here("run", *options, **url), small, code=0) is Stands.RETIRED
    assert every_error(small, tmp_path) == {Stands.RETIRED}

    archive = str(tmp_path / "archive")
    assert told(run_here("purge", "--yes", *options, "--archive", archive, **url), small, code=0) is Stands.PURGED
    assert every_error(small, tmp_path) == {Stands.PURGED}
    assert told(run_here("rollback", *options, **url), small, code=3) is Stands.PURGED

    assert told(run_here("rollback", *options, "--archive", archive, **url), small, code=0) is Stands.ROLLED_BACK
    assert every_error(small, tmp_path) == {Stands.ROLLED_BACK}
