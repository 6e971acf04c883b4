"""A rollback that is broken off at any of its steps: the same command completes it, and `run` goes forward from there."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from pipelines.table_move import way_back
from pipelines.table_move.database import going_back, removal
from pipelines.table_move.way_back import WayBack
from pipelines.templates import demo
from tests.acceptance.test_cases import KEYS_TO_OLD, business, words
from tests.acceptance.test_up_down_up import verb, world
from tests.application import Application
from tests.command import Answer, call, run, start
from tests.postgres_tools import contents, schema_dump

U1, U2 = "00000001-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "00000002-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
TABLES = ("businesses", "prompt_templates", "templates", "stages")

# What is broken off, before it or after it, and where the move stands then.
POINTS = [
    (going_back, "return_table", "before", "confirmed"),
    (going_back.journal, "reach", "before", "confirmed"),
    (WayBack, "return_table", "after", "switched"),
    (going_back, "merge_back", "after", "switched"),
    (going_back, "references_back", "after", "switched"),
    (WayBack, "switch_back", "after", "copying"),
    (going_back, "end_freeze", "after", "copying"),
    (way_back.foreign_keys, "_validate", "before", "copying"),
    (way_back.foreign_keys, "_add", "before", "copying"),
    (removal, "delete", "after", "copying"),
    (WayBack, "remove", "after", "rolled_back"),
]


class Broken(Exception):
    """What happens in the middle."""


@pytest.fixture
def moved(application: Application, tmp_path: Path) -> Application:
    for number in (1, 2, 3):
        application.business(number)
    words("row a", "row b", f"row {U2}", "row x text=x", f"there {U1} 1 text=x", "stage 1 1 a b x", "stage 2 2 a",
          f"stage 3 2 {U2}", KEYS_TO_OLD)(application)  # fmt: skip
    application.before = world(application)
    assert verb(application, tmp_path, "run", "--default-business", business(1)).code == 0
    return application


@pytest.mark.parametrize("then", ["rollback", "run"])
@pytest.mark.parametrize(
    ("place", "name", "when", "stands"), POINTS, ids=[f"{when} {name}" for _, name, when, _ in POINTS]
)
def test_a_rollback_broken_off_is_completed_by_itself_and_by_a_run(
    moved: Application, place, name: str, when: str, stands: str, then: str, tmp_path: Path, monkeypatch
) -> None:
    original = getattr(place, name)

    def broken(*arguments, **more):
        if when == "after":
            original(*arguments, **more)
        raise Broken

    with monkeypatch.context() as patched:
        patched.setattr(place, name, broken)
        assert verb(moved, tmp_path, "rollback").code == 70
    assert moved.value("SELECT milestone FROM pipelines.move") == stands
    status = call("status", "--json", DATABASE_URL=moved.url)
    assert (status.code, status.json["state"]) == (
        0, {"confirmed": "done", "rolled_back": "rolled_back"}.get(stands, "interrupted"),
    )  # fmt: skip

    if then == "run":
        forward = verb(moved, tmp_path, "run")
        assert forward.code == 0, forward.err
        assert forward.json["state"] == "done"
        assert not moved.exists("public.prompt_templates")
        assert moved.value("SELECT tgenabled FROM pg_trigger WHERE tgname = 'pipelines_frozen'") == "A"
    answer = verb(moved, tmp_path, "rollback")

    assert answer.code == 0, answer.err
    assert world(moved) == moved.before
    moved.template("the old table takes writes")


def told(answer: Answer) -> dict[str, object]:
    found = answer.json["rollback"]
    return {**found, "losses": sorted((loss["kind"], loss["keys"]) for loss in found["losses"])}


@pytest.mark.parametrize(
    ("place", "name", "when"),
    [(WayBack, "restore_foreign_keys", "before"), (removal, "delete", "after"), (removal, "_end", "before")],
    ids=["before the rest", "in the removal", "after the removal"],
)
def test_the_attempt_that_completes_a_rollback_tells_what_all_of_them_took_back(
    moved: Application, place, name: str, when: str, tmp_path: Path, monkeypatch
) -> None:
    moved.execute(
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
        " VALUES (gen_random_uuid(), %s, 'since', 't', 'since')", (business(1),),
    )  # fmt: skip
    moved.execute(
        "UPDATE templates SET content = 'edited' WHERE template_id = "
        "(SELECT target_id FROM pipelines.id_map WHERE source_id = 'b')"
    )
    would = told(verb(moved, tmp_path, "rollback", "--dry-run"))
    would["removed"] = moved.value("SELECT count(*) FROM pipelines.id_map WHERE loaded")
    assert would["merged_back"] == 1
    original = getattr(place, name)

    def broken(*arguments, **more):
        if when == "after":
            original(*arguments, **more)
        raise Broken

    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, broken)
            assert verb(moved, tmp_path, "rollback", "--accept-loss").code == 70
    between = call("status", "--json", DATABASE_URL=moved.url).json["world_sentence"]
    assert "still to come" not in between
    assert "being taken back" in between

    answer = verb(moved, tmp_path, "rollback", "--accept-loss")

    assert answer.code == 0, answer.err
    assert [kind for kind, _ in told(answer)["losses"]] == ["created_since"]
    assert told(answer) == would
    assert "created or changed since the switch" in answer.err
    again = verb(moved, tmp_path, "rollback")
    assert told(again)["losses"] == []


@pytest.mark.timeout(900)
def test_a_rollback_killed_at_random_moments_ends_like_an_undisturbed_one(
    demonstration: Application, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    before = schema_dump(demonstration), contents(demonstration, *TABLES)
    assert run(demonstration.url, tmp_path, "--default-business", demo.DEFAULT_BUSINESS).code == 0
    for _ in range(4):
        process = start("rollback", "--json", "--report-dir", str(tmp_path), DATABASE_URL=demonstration.url)
        time.sleep(moments.uniform(1, 4))
        process.send_signal(signal.SIGKILL)
        process.communicate()

    answer = call("rollback", "--json", "--report-dir", str(tmp_path), DATABASE_URL=demonstration.url)

    assert answer.code == 0, answer.err
    assert (schema_dump(demonstration), contents(demonstration, *TABLES)) == before
