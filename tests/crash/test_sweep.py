"""Killed, disconnected or cancelled at any statement, the same command again ends like an undisturbed one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.application import Application
from tests.conftest import empty_database
from tests.crash import small_move
from tests.crash.faults import Fault
from tests.crash.final_state import RESIDUE, ROWS, differences, final_state, residue
from tests.crash.nursery import Nursery
from tests.crash.sweep import RUN, SEQUENCES, Sequence, Sweep, sweep

SLICES = 8
EVERY_SEQUENCE = pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence.name)


@pytest.fixture
def begun(server: str, nursery: Nursery, sequence: Sequence, tmp_path: Path) -> Iterable[Sweep]:
    with sweep(server, nursery, sequence, str(tmp_path)) as found:
        yield found


@pytest.fixture
def seed() -> int:
    found = random.randrange(10**6)
    print(f"seed {found}")
    return found


def try_all(
    found: Sweep, trials: Iterable[tuple[Fault, ...]], name: str, record: Callable[[str, object], None]
) -> None:
    wrong, count = [], 0
    for faults in trials:
        wrong += found.trial(*faults)
        count += 1
    record(f"points: {name}", count)
    assert not wrong, "\n".join(wrong)


@EVERY_SEQUENCE
def test_killed_anywhere_it_goes_on(begun: Sweep, sequence: Sequence, seed: int, record_property) -> None:
    some = random.Random(seed).sample(list(begun.kills()), 2)
    try_all(begun, [(fault,) for fault in some], f"killed, {sequence.name}, a sample", record_property)


@pytest.mark.parametrize("action", ["terminate", "cancel"])
@pytest.mark.parametrize("sequence", SEQUENCES[:1], ids=lambda sequence: sequence.name)
def test_a_session_or_statement_that_is_taken_away_ends_the_command_in_order(
    begun: Sweep, sequence: Sequence, action: str, seed: int, record_property
) -> None:
    some = random.Random(seed).sample(range(1, len(begun.points) + 1), 3)
    trials = [(Fault(point=point, action=action),) for point in some]
    try_all(begun, trials, f"{action}, {sequence.name}, a sample", record_property)


@pytest.mark.parametrize("action", ["terminate", "cancel"])
@pytest.mark.parametrize(
    "moment", ["[gate] CREATE TEMPORARY", "[gate] INSERT", '[gate] SELECT count(*) AS "table.row_count"']
)
@pytest.mark.parametrize("sequence", SEQUENCES[:1], ids=lambda sequence: sequence.name)
def test_what_is_taken_away_from_the_gate_does_not_close_it(begun: Sweep, moment: str, action: str) -> None:
    wrong = begun.trial(Fault(point=begun.point(moment), action=action))
    assert not wrong, "\n".join(wrong)


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(SLICES))
@EVERY_SEQUENCE
def test_killed_at_every_point_it_goes_on(begun: Sweep, sequence: Sequence, part: int, record_property) -> None:
    trials = [(fault,) for fault in list(begun.kills())[part::SLICES]]
    try_all(begun, trials, f"killed, {sequence.name}", record_property)


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.parametrize("action", ["terminate", "cancel"])
@EVERY_SEQUENCE
def test_taken_away_at_every_point_it_goes_on(
    begun: Sweep, sequence: Sequence, action: str, part: int, record_property
) -> None:
    trials = [(Fault(point=point, action=action),) for point in range(1 + part, len(begun.points) + 1, SLICES)]
    try_all(begun, trials, f"{action}, {sequence.name}", record_property)


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
@EVERY_SEQUENCE
def test_killed_again_while_it_goes_on_it_goes_on(begun: Sweep, sequence: Sequence, seed: int, record_property) -> None:
    chance, last = random.Random(seed), len(begun.points)
    trials = [[Fault(point=chance.randint(1, last)) for _ in range(chance.choice((2, 2, 3)))] for _ in range(40)]
    try_all(begun, trials, f"killed twice or thrice, {sequence.name}", record_property)


DEFECTS = {
    "templates": "UPDATE templates SET content = content || ' '",
    "stages": "UPDATE stages SET stage_name = 'other'",
    "businesses": "UPDATE businesses SET api_key = api_key || ' '",
    "old table": "INSERT INTO {old} VALUES ('x', 'text')",
    "place of the old table": "ALTER TABLE {old} SET SCHEMA public",
    "map": "DELETE FROM pipelines.id_map WHERE source_id = 'old-001'",
    "rejected": "INSERT INTO pipelines.rejected VALUES ('templates', 'x', NULL, NULL, 'r', 'd', 1)",
    "changed references": "DELETE FROM pipelines.reference_change WHERE change_id = (SELECT min(change_id) FROM pipelines.reference_change)",
    "released keys": "DELETE FROM pipelines.foreign_key WHERE constraint_name = 'two'",
    "milestone": "UPDATE pipelines.move SET milestone = 'retired'",
    "newest attempt": "UPDATE pipelines.run SET state = 'stopped'",
    "constraints": "ALTER TABLE stages DROP CONSTRAINT stages_business_id_fkey",
    "triggers": "DROP TRIGGER pipelines_frozen ON {old}",
    "schemas": "CREATE SCHEMA staging",
    "attempts that say they are running": "UPDATE pipelines.run SET state = 'running'",
    "advisory locks": "SELECT pg_advisory_lock(1)",
    "prepared transactions": "",
    "sessions left behind": "",
    "invalid indexes": "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_stages_business_id'::regclass",
    "temporary tables": "CREATE TEMP TABLE staged (x int)",
    "rows in working tables": "INSERT INTO pipelines.claim VALUES ('templates', 'x', gen_random_uuid(), 1)",
}


@pytest.mark.parametrize("sequence", SEQUENCES[:1], ids=lambda sequence: sequence.name)
def test_what_judges_here_sees_every_kind_of_defect(server: str, nursery: Nursery, tmp_path: Path, sequence) -> None:
    assert DEFECTS.keys() == ROWS.keys() | RESIDUE.keys()
    with empty_database(server) as url, Application(url) as application:
        small_move.fill(application)
        assert nursery.call(url, *RUN, "--report-dir", str(tmp_path)).code == 0
        sound, old = final_state(application), application.value("SELECT retired_schema FROM pipelines.move")
        for name, statement in DEFECTS.items():
            if not statement:
                continue
            application.execute("BEGIN; ALTER TABLE " + f"{old}.prompt_templates DISABLE TRIGGER pipelines_frozen")
            application.execute(statement.replace("{old}", f"{old}.prompt_templates"))
            seen = {*differences(final_state(application), sound), *residue(application, patience=0)}
            application.execute("ROLLBACK; SELECT pg_advisory_unlock_all()")
            assert name in seen, name
        with Application(f"{url}&application_name=pipelines"):
            assert residue(application, patience=0).keys() == {"sessions left behind"}
        assert (differences(final_state(application), sound), residue(application)) == ({}, {})
