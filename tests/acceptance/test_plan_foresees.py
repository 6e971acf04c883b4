"""What a plan foresees: a gate that is going to close, and ids of the old table where nobody declared a reference."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from tests.application import Application
from tests.command import call, run

UUID_KEY = str(UUID(int=77))


def plan(application: Application, *arguments: str):
    return call("plan", "--json", *arguments, DATABASE_URL=application.url)


def dangling(application: Application, business: str) -> None:
    application.stage(2, business, "nowhere")


def conflict(application: Application, business: str) -> None:
    application.template(UUID_KEY)
    application.execute(
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
        " VALUES (%s, %s, 'other', 'other', 'other')",
        (UUID_KEY, business),
    )


CLOSES = {
    "dangling references": (dangling, "--allow-dangling"),
    "conflicts": (conflict, "--on-conflict=keep-target"),
}


@pytest.mark.parametrize("what", CLOSES)
def test_a_plan_ends_as_the_gate_is_going_to(application: Application, what: str, tmp_path: Path) -> None:
    business = application.business(1)
    application.template("a")
    application.stage(1, business, "a")
    fault, option = CLOSES[what]
    assert plan(application).code == 0
    fault(application, business)

    closing = plan(application)

    assert (closing.code, [one["check"] for one in closing.json["gate_will_close"]]) == (4, [what]), closing.err
    assert "Nothing is in the way" not in closing.err
    assert option.partition("=")[0] in closing.err
    allowed = plan(application, *option.split("="))
    assert (allowed.code, allowed.json["gate_will_close"]) == (0, []), allowed.err
    assert run(application.url, tmp_path, "--until", "verify").code == 4, "it was right"
    assert plan(application).code == 4, "and of a move that has begun"
    assert run(application.url, tmp_path, *option.split("=")).code == 0, "and its advice too"
    assert plan(application).code == 0


PLACES = {
    "text": ("text", "'old key'"),
    "a domain": ("named", "'old key'"),
    "varchar[]": ("varchar[]", "ARRAY['x', 'old key']"),
    "uuid": ("uuid", f"'{UUID_KEY}'"),
    "uuid[]": ("uuid[]", f"ARRAY['{UUID_KEY}']::uuid[]"),
    "jsonb, deep in it": ("jsonb", '\'{"a": [{"b": "old key"}]}\''),
    "json that is no jsonb": ("json", '\'{"a": "\\u0000", "old key": 1}\''),
}


@pytest.mark.parametrize("what", PLACES)
def test_ids_in_columns_that_nobody_declared_are_named_with_counts(application: Application, what: str) -> None:
    business = application.business(1)
    for key in ("old key", UUID_KEY):
        application.template(key)
    application.stage(1, business, "old key")
    kind, value = PLACES[what]
    application.execute(
        f'CREATE DOMAIN named AS text; CREATE TABLE "Other things" (id int PRIMARY KEY, place {kind}, note text);'
        f"INSERT INTO \"Other things\" SELECT n, CASE WHEN n <= 3 THEN {value}::{kind} END, 'no key' FROM generate_series(1, 20) n"
    )
    before = application.places()

    answer = plan(application)

    assert answer.code == 0, answer.err
    found = [warning for warning in answer.json["warnings"] if "Other things.place" in warning]
    assert len(found) == 1, answer.json["warnings"]
    assert "in 3 of 3 sampled rows" in found[0]
    assert not any("note" in warning or "stages" in warning for warning in answer.json["warnings"])
    assert application.places() == before


def test_a_large_table_is_sampled_and_one_that_is_locked_is_said_to_be_unknown(application: Application) -> None:
    import psycopg2

    application.business(1)
    application.template("old key")
    application.execute(
        "CREATE TABLE large AS SELECT n, repeat('x', 500) AS filler, 'old key'::text AS place FROM generate_series(1, 20000) n;"
        "ANALYZE large"
    )
    answer = plan(application)
    assert any(
        "public.large.place" in warning and "of 1,000 sampled rows" in warning for warning in answer.json["warnings"]
    )
    other = psycopg2.connect(application.url)
    other.cursor().execute("LOCK TABLE large IN ACCESS EXCLUSIVE MODE")
    answer = plan(application)
    other.close()
    assert (answer.code, [w for w in answer.json["warnings"] if "could not be seen in time" in w] != []) == (0, True)
