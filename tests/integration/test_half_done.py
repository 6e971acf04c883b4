"""Half-done migrations step by step: adoption is fixed once, conflicts are decided anew, nothing of a tenant is lost."""

from __future__ import annotations

import pytest

from pipelines.table_move.database import adopt as adoption
from pipelines.table_move.database.adopt import adopt
from pipelines.table_move.database.catch_up import catch_up
from pipelines.table_move.database.claims import build_claims
from tests.application import Application
from tests.integration.conftest import copy

U1, U2 = "00000001-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "00000002-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
MAP = "SELECT source_id, owner_id::text, target_id::text, disposition FROM pipelines.id_map ORDER BY 1, 2"


def there(application: Application, key: str, business: str, text: str = "T") -> None:
    application.execute(
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
        " VALUES (%s, %s, 'n', 't', %s)",
        (key, business, text),
    )


def row(application: Application, key: str, text: str = "T") -> None:
    application.template(key, text, template_name="n", template_type="t")


def test_what_a_killed_adoption_left_is_not_taken_for_its_own(
    application: Application, begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = application.business(1)
    row(application, "slug")
    there(application, U1, a)
    going = begin()
    build_claims(going.attempt)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(adoption, "_pair", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        adopt(going.attempt)
    assert application.value("SELECT count(*) FROM pipelines.candidate") == 1
    application.execute("UPDATE prompt_templates SET template_id = 'other'")

    copy(begin().attempt)

    assert application.rows(MAP) == [("other", a, U1, "adopted")]
    assert application.value("SELECT count(*) FROM pipelines.candidate") == 0


def test_pairs_are_fixed_once(application: Application, begin) -> None:
    a = application.business(1)
    row(application, "slug")
    copy(begin().attempt)
    there(application, U1, a)
    row(application, "new")
    again = begin().attempt
    assert adopt(again) == 0
    catch_up(again)
    assert [line[3] for line in application.rows(MAP)] == ["inserted", "inserted"]


def test_an_adopted_row_that_its_tenant_edits_is_a_conflict_until_somebody_decides(
    application: Application, begin
) -> None:
    a = application.business(1)
    row(application, "slug")
    there(application, U1, a)
    copy(begin().attempt)
    application.execute("UPDATE templates SET content = 'edited'")
    catch_up(begin().attempt)
    assert application.rows(MAP) == [("slug", a, U1, "conflict")]

    catch_up(begin(on_conflict="keep-target").attempt)
    assert application.value("SELECT kept_target FROM pipelines.id_map WHERE disposition = 'already_present'")
    catch_up(begin().attempt)
    assert application.value("SELECT kept_target FROM pipelines.id_map"), "what was decided stays decided"
    application.execute("UPDATE templates SET content = 'edited again'")
    catch_up(begin().attempt)
    assert application.rows("SELECT disposition, kept_target FROM pipelines.id_map") == [("conflict", False)]
    assert application.rows("SELECT content FROM templates") == [("edited again",)]


def test_a_conflict_that_is_decided_anew_loses_no_edit_of_a_copy(application: Application, begin) -> None:
    a, b, c = (application.business(number) for number in (1, 2, 3))
    row(application, U1)
    there(application, U1, c, "another text")
    application.stage(1, a, U1, U1)
    application.stage(2, b, U1)
    copy(begin().attempt)
    copy_id = application.value("SELECT target_id::text FROM pipelines.id_map WHERE owner_rule = 'copy'")
    assert application.rows(MAP) == [(U1, a, U1, "conflict"), (U1, b, copy_id, "inserted")]
    application.execute("UPDATE templates SET content = 'edited by b' WHERE template_id = %s", (copy_id,))

    catch_up(begin(on_conflict="keep-target").attempt)

    found = {(owner, disposition) for _, owner, _, disposition in application.rows(MAP)}
    assert found == {(a, "inserted"), (b, "already_present"), (c, "already_present")}
    assert application.value("SELECT content FROM templates WHERE template_id = %s", (copy_id,)) == "edited by b"
    assert application.value("SELECT content FROM templates WHERE template_id = %s", (U1,)) == "another text"
