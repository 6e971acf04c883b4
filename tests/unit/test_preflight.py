"""Decisions of the preflight that are hard to provoke on a real server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipelines.table_move.errors import Blocker
from pipelines.table_move.pure.estimate import expected_pause_seconds, expected_seconds, needed_bytes, slowness
from pipelines.table_move.pure.facts import ColumnLimit, Facts, Relation, Server
from pipelines.table_move.pure.preflight import blockers
from pipelines.table_move.pure.quoting import literal, quoted
from pipelines.table_move.pure.server_blockers import version_blocker
from pipelines.table_move.pure.surroundings import Collation, Dependent, Prepared, Surroundings
from pipelines.table_move.pure.warnings import warnings
from pipelines.templates.move import TEMPLATES

SERVER = Server(
    version=160000,
    is_standby=False,
    is_read_only=False,
    read_only_by="default",
    encoding="UTF8",
    block_size=8192,
    deadlock_timeout=1.0,
    database='the "db"',
    may_create_schemas=True,
    may_use_temporary_tables=True,
    user="Mover",
)


def relation(name: str, *key: str, **more: Any) -> Relation:
    texts = ("template_text", "description", "template_name", "template_type", "content", "business_name")
    columns = {
        **dict.fromkeys(texts, ColumnLimit()),
        **dict.fromkeys(("template_id", "business_id", "stage_id"), ColumnLimit(type="uuid", nullable=False)),
    }
    given = {
        "oid": len(name),
        "schema": "public",
        "name": name,
        "kind": "r",
        "persistence": "p",
        "filenode": 1,
        "heap_bytes": 8192,
        "toast_bytes": 8192,
        "estimated_rows": -1,
        "owner": "owner",
        "owner_is_superuser": False,
        "is_owned": True,
        "rights": frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER"}),
        "is_partition": False,
        "parents": (),
        "children": (),
        "has_row_security": False,
        "policies": 0,
        "hides_rows": False,
        "unique_columns": frozenset(key),
        "columns": columns,
    }
    return Relation(**{**given, **more})


FACTS = Facts(
    server=SERVER,
    schema="public",
    schema_rights=frozenset({"USAGE", "CREATE"}),
    source=relation("prompt_templates", "template_id"),
    target=replace(
        relation("templates", "template_id"),
        columns={name: ColumnLimit(type="uuid", nullable=False) for name in ("template_id", "business_id")}
        | {name: ColumnLimit() for name in ("template_name", "template_type", "content")},
    ),
    owners=relation("businesses", "business_id"),
    references={"stages": relation("stages", "stage_id")},
    foreign_keys=(),
)


def found(facts: Facts = FACTS, **around: Any) -> list[Blocker]:
    return list(blockers(TEMPLATES, facts, Surroundings(**around)))


def of_server(**more: Any) -> list[Blocker]:
    return found(replace(FACTS, server=replace(SERVER, **more)))


def test_nothing_is_in_the_way_of_a_plain_installation() -> None:
    assert found() == []


def test_an_old_server_is_named_by_its_version() -> None:
    blocker = version_blocker(140018)
    assert (blocker.code, "PostgreSQL 14" in blocker.message) == ("server_too_old", True)
    assert [version_blocker(major * 10000) for major in (15, 16, 17, 18, 19)] == [None] * 5


def test_a_server_newer_than_those_that_were_tried_is_warned_about() -> None:
    def about(version: int) -> tuple[str, ...]:
        return warnings(TEMPLATES, replace(FACTS, server=replace(SERVER, version=version)), Surroundings())

    assert [about(major * 10000) for major in (15, 18)] == [(), ()]
    (warning,) = about(190000)
    assert "PostgreSQL 19" in warning


@pytest.mark.parametrize(
    ("by", "command"),
    [
        ("database", 'ALTER DATABASE "the ""db""" RESET'),
        ("user", 'ALTER ROLE "Mover" RESET'),
        ("database user", 'ALTER ROLE "Mover" IN DATABASE "the ""db""" RESET'),
        ("configuration file", "ALTER SYSTEM SET"),
        ("client", "Take default_transaction_read_only out of the URL"),
    ],
)
def test_the_way_out_of_read_only_depends_on_who_said_so(by: str, command: str) -> None:
    (blocker,) = of_server(is_read_only=True, read_only_by=by)
    assert blocker.code == "read_only"
    assert command in blocker.remedy


def test_the_disk_needs_room_for_a_multiple_of_the_source() -> None:
    needed = needed_bytes(stored=16384, rows=-1)
    assert needed == 5 * 16384
    assert needed_bytes(stored=16384, rows=1000) > needed
    assert found(disk_free=needed) == []
    (blocker,) = found(disk_free=needed - 1)
    assert blocker.code == "disk_space"
    assert found(disk_free=None) == []


def test_an_outdated_collation_names_both_versions() -> None:
    (blocker,) = found(collation=Collation(recorded="2.31", actual="2.36"))
    assert blocker.code == "collation_version"
    assert "2.31" in blocker.message
    assert "2.36" in blocker.message
    assert blocker.remedy.startswith('REINDEX DATABASE "the ""db""";')


def test_a_temporary_table_is_no_home_for_rows() -> None:
    (blocker,) = found(replace(FACTS, target=replace(FACTS.target, persistence="t")))
    assert (blocker.code, "temporary" in blocker.message) == ("unsupported_table", True)


def test_nobody_becomes_a_superuser_for_a_move_and_no_application_loses_its_table() -> None:
    def remedy(**owner: Any) -> str:
        (blocker,) = found(replace(FACTS, source=replace(FACTS.source, is_owned=False, **owner)))
        return blocker.remedy

    assert remedy(owner="app").startswith('GRANT "app" TO "Mover" WITH INHERIT TRUE;')
    assert remedy(owner="root", owner_is_superuser=True).startswith('ALTER TABLE "public"."prompt_templates" OWNER TO')


def test_what_is_no_table_is_said_once() -> None:
    view = relation("templates", kind="v", rights=frozenset(), columns={})
    assert [blocker.code for blocker in found(replace(FACTS, target=view))] == ["unsupported_table"]


def test_what_hung_on_the_old_table_is_no_matter_once_it_is_retired() -> None:
    retired = replace(FACTS, source=replace(FACTS.source, schema="pipelines_retired_1"))
    view = Dependent(kind="view", name="public.pretty", table="public.pretty")
    assert found(retired, dependents=(view,)) == []
    assert [blocker.code for blocker in found(dependents=(view,))] == ["dependent_object"]
    prepared = Prepared(gid="it's", table="public.stages")
    assert found(retired, prepared=(prepared,))[0].remedy.startswith("COMMIT PREPARED 'it''s';")


def test_names_and_texts_are_quoted_for_commands() -> None:
    assert quoted("a", 'The "b"') == '"a"."The ""b"""'
    assert literal("it's") == "'it''s'"


def test_what_is_expected_grows_with_how_long_the_look_took() -> None:
    usual = expected_pause_seconds(rows=100_000, references=50_000)
    assert slowness(0.5, looked_at=180_000) == 1, "a fast server promises nothing"
    assert slowness(4.4, looked_at=180_000) == pytest.approx(4)
    assert slowness(3600, looked_at=-1) == 20
    assert expected_pause_seconds(rows=100_000, references=50_000, slowness=4) == pytest.approx(4**0.85 * usual)
    assert expected_seconds(rows=100_000, references=0, slowness=4) > 2 * expected_seconds(rows=100_000, references=0)
