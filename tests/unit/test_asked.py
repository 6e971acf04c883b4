"""What is said of rows that are not as they were asked to be, and which answers of the database are about a row."""

from __future__ import annotations

import psycopg2
import pytest

from pipelines.table_move.database.piecemeal import refuses_a_row
from pipelines.table_move.pure.asked import Difference
from pipelines.table_move.pure.losses import Loss, LossKind, together


def test_a_difference_says_how_many_rows_of_each_kind_and_names_three() -> None:
    rows = [("d", "missing"), ("a", "changed"), ("b", "changed"), ("c", "changed"), ("e", "changed")]
    found = Difference(table="public.t", event="INSERT", rows=rows, meddlers=["trigger x (BEFORE, public.f)", "rule y"])
    assert found.sentence == (
        "public.t did not take what INSERT asked of it: 1 row is not there under the id that the move gave it (d); "
        "4 rows are not as the move wrote them (a, b, c, …)."
    )
    assert found.remedy.startswith("Look at the trigger x (BEFORE, public.f) and the rule y on public.t: ")
    assert found.keys == frozenset("abcde")


def test_where_nothing_stands_in_between_triggers_of_other_tables_are_named_as_the_place_to_look() -> None:
    found = Difference(table="public.t", event="DELETE", rows=[("a", "still_there")], meddlers=[])
    assert "1 row is still there after it was deleted (a)" in found.sentence
    assert "other tables" in found.remedy


@pytest.mark.parametrize(
    ("sqlstate", "refuses"),
    [
        *[(state, True) for state in ("22001", "22023", "22P02", "23514", "23505", "P0001", "P0002", "APP01", "21000")],
        *[(state, True) for state in ("54000", "55000", "27000", "0A000", "44000", "72000")],
        *[
            (state, False)
            for state in ("42P01", "42883", "42704", "42501", "55P03", "57014", "40P01", "40001", "53100")
        ],
        *[(state, False) for state in ("08006", "25006", "3D000", "54001", "58030", "XX000", None)],
    ],
)
def test_constraints_and_triggers_refuse_a_row_and_the_rest_is_no_answer_to_it(
    sqlstate: str | None, refuses: bool
) -> None:
    problem = psycopg2.Error()
    if sqlstate is not None:
        problem.__setstate__({"pgcode": sqlstate})
    assert refuses_a_row(problem) is refuses


def test_two_lists_of_losses_name_every_key_once() -> None:
    before = (Loss(kind=LossKind.EDITED, keys=("a",)), Loss(kind=LossKind.KEPT, keys=("b",)))
    more = (Loss(kind=LossKind.EDITED, keys=("a", "b", "c")), Loss(kind=LossKind.DOES_NOT_FIT, keys=()))
    assert together(before, more) == (
        Loss(kind=LossKind.EDITED, keys=("a", "c")),
        Loss(kind=LossKind.KEPT, keys=("b",)),
    )
