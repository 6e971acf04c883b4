"""What a trial has met, in words: what stops the move, what is a warning, what says nothing."""

from __future__ import annotations

from dataclasses import replace

from pipelines.table_move.pure.trial import Act, Found, blockers, of_inserts, warnings

REFUSED = Found(
    act=Act.INSERT, table="public.t", sqlstate="P0001", answer="SQLSTATE P0001", meddlers=("trigger x on public.t",)
)
KINDS = {"a": "made", "b": "made", "k": "kept"}


def test_an_insert_that_no_row_of_a_kind_gets_past_stops_the_move() -> None:
    (found,) = of_inserts(KINDS, {"a": REFUSED, "b": REFUSED})
    (blocker,) = blockers([found])
    assert blocker.code == "refused_in_trial"
    assert blocker.message == "Tried and taken back: public.t refuses INSERT, SQLSTATE P0001 (tried with a, b)."
    assert "trigger x on public.t" in blocker.remedy


def test_single_rows_that_are_refused_are_a_warning_but_not_those_that_are_changed() -> None:
    found = of_inserts(KINDS, {"a": REFUSED})
    assert blockers(found) == ()
    (warning,) = warnings(found)
    assert "the gate closes" in warning
    changed = of_inserts(KINDS, {"a": replace(REFUSED, sqlstate="", answer="1 row is changed.")})
    assert [one.code for one in blockers(changed)] == ["changed_in_trial"]
    broken = of_inserts(KINDS, {"a": replace(REFUSED, sqlstate="42P01")})
    assert [one.code for one in blockers(broken)] == ["refused_in_trial"], "what is broken takes no row for long"


def test_rows_that_exclude_one_another_and_locks_of_others_say_nothing() -> None:
    for state in ("23505", "23P01", "55P03", "40P01"):
        assert of_inserts(KINDS, {"a": replace(REFUSED, sqlstate=state)}) == []


def test_what_only_a_rollback_or_a_later_change_meets_is_a_warning() -> None:
    for act in (Act.UPDATE, Act.REFERENCES_BACK, Act.DELETE):
        found = [replace(REFUSED, act=act)]
        assert (blockers(found), len(warnings(found))) == ((), 1)


def test_a_setting_that_is_missing_is_named_as_the_reason() -> None:
    assert "ALTER ROLE" in replace(REFUSED, sqlstate="42704").remedy
    assert "event triggers" in Found(act=Act.RETIRE, table="The database", sqlstate="P0001", answer="no").remedy
