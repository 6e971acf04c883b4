"""Ids, owners, ranges and mapping, case by case."""

from __future__ import annotations

from uuid import UUID

import pandas as pd
import pytest

from pipelines.table_move.pure.facts import ColumnLimit
from pipelines.table_move.pure.fingerprint import fingerprints
from pipelines.table_move.pure.ids import name_based_ids
from pipelines.table_move.pure.mapping import TEXT, map_rows
from pipelines.table_move.pure.ownership import assign_owners
from pipelines.table_move.pure.ranges import Place, Range, every, remaining
from pipelines.templates.move import TEMPLATES
from pipelines.templates.transform import map_columns

A, B, C = (f"0000000{number}-0000-4000-8000-000000000000" for number in (1, 2, 3))
KEPT = "9d0a6c9e-3c5f-4a58-8b1e-5a1f0c7d2e44"
LIMITS = {
    "template_name": ColumnLimit(characters=255, nullable=False),
    "template_type": ColumnLimit(characters=50, nullable=False),
    "content": ColumnLimit(nullable=False),
}


def rows(*lines: dict[str, str | None]) -> pd.DataFrame:
    empty = dict.fromkeys(
        (
            "template_text",
            "description",
            "template_name",
            "template_type",
            "source_hash",
            "claims",
            "assigned",
            "decided",
            "present",
        )
    )
    frame = pd.DataFrame([{**empty, "template_text": "t", "source_hash": "\\x00", **line} for line in lines])
    return frame.astype(TEXT)


def owners(
    *lines: dict[str, str | None], default: str | None = None, keep_target: bool = False
) -> list[tuple[int, str, str]]:
    frame = rows(*({"source_id": "s", **line} for line in lines))
    hashes = pd.Series(["\\xaa"] * len(lines), dtype=TEXT)
    found = assign_owners(frame, hashes, default_owner=default, keep_target=keep_target)
    return list(found[["row", "owner_id", "owner_rule"]].itertuples(index=False, name=None))


def mapped(*lines: dict[str, str | None], default: str | None = None, limits: dict | None = None):
    return map_rows(rows(*lines), move=TEMPLATES, transform=map_columns, default_owner=default, limits=limits or LIMITS)


def test_an_id_is_version_8_variant_10_and_depends_on_the_owner_of_a_copy_only() -> None:
    primary, again, copy_a, copy_b = name_based_ids(TEMPLATES.namespace, ["x"] * 4, [None, None, A, B])
    assert primary == again
    assert len({primary, copy_a, copy_b}) == 3
    for text in (primary, copy_a, copy_b):
        assert str(UUID(text)) == text
        assert (UUID(text).version, UUID(text).variant) == (8, "specified in RFC 4122")


def test_the_most_frequent_claimant_owns_the_row_and_ties_go_to_the_smallest_id() -> None:
    assert owners({"claims": f"{B}=2 {A}=1"}) == [(0, B, "references"), (0, A, "copy")]
    assert owners({"claims": f"{C}=3 {B}=3 {A}=1"}) == [(0, B, "references"), (0, C, "copy"), (0, A, "copy")]
    assert owners({"claims": f"{A}=9 {B}=10"})[0] == (0, B, "references"), "counts are numbers"


def test_a_row_that_nobody_refers_to_goes_to_the_default_owner_or_has_none() -> None:
    assert owners({}, {"claims": f"{A}=1"}, default=C) == [(0, C, "default"), (1, A, "references")]
    assert owners({}) == []


def test_the_equal_row_under_the_same_id_names_the_owner_if_it_refers_to_the_row_or_nobody_does() -> None:
    present = {"present": f"{A}=\\xaa"}
    assert owners(present, default=C) == [(0, A, "present")]
    assert owners({**present, "assigned": B}) == [(0, A, "present")]
    assert owners({**present, "claims": f"{B}=9 {A}=1"}) == [(0, A, "present"), (0, B, "copy")]
    assert owners({**present, "claims": f"{B}=1"}) == [(0, B, "references")], "another business's row: a conflict"
    assert owners({"present": f"{A}=\\xbb"}, default=C) == [(0, C, "default")], "not equal: a conflict"
    assert owners({"present": f"{A}=\\xbb", "claims": f"{B}=1"}, keep_target=True) == [
        (0, A, "present"),
        (0, B, "copy"),
    ]


def test_a_person_names_the_owner_before_the_references_do() -> None:
    assert owners({"assigned": A, "claims": f"{B}=9"}, {}, default=C) == [
        (0, A, "owners_file"),
        (0, B, "copy"),
        (1, C, "default"),
    ]


def test_decided_owners_stay_and_later_claimants_get_copies() -> None:
    decided = f"{A}=references={KEPT}"
    assert owners({"claims": f"{B}=9 {A}=1", "decided": decided}) == [(0, A, "references"), (0, B, "copy")]
    assert owners({"decided": decided}, default=C) == [(0, A, "references")]


def test_a_canonical_uuid_is_kept_for_the_primary_owner_only() -> None:
    pairs = mapped({"source_id": KEPT, "claims": f"{A}=2 {B}=1"}).pairs
    assert pairs["target_id"].tolist()[0] == KEPT
    assert pairs["target_id"].tolist()[1] == name_based_ids(TEMPLATES.namespace, [KEPT], [B])[0]


@pytest.mark.parametrize("odd", [KEPT.upper(), "{" + KEPT + "}", KEPT.replace("-", ""), KEPT + "\n", " " + KEPT, "7"])
def test_other_spellings_of_a_uuid_are_plain_text(odd: str) -> None:
    (found,) = mapped({"source_id": odd}, default=A).pairs["target_id"]
    assert found == name_based_ids(TEMPLATES.namespace, [odd], [None])[0]


def test_a_row_without_owner_and_a_row_beyond_the_limits_are_rejected_with_a_reason() -> None:
    result = mapped(
        {"source_id": "alone"},
        {"source_id": "long", "template_type": "t" * 51, "claims": f"{A}=1 {B}=1"},
        {"source_id": "empty", "template_text": None, "claims": f"{A}=1"},
        {"source_id": "good", "claims": f"{A}=1"},
    )
    assert result.pairs["source_id"].tolist() == ["good"]
    found = sorted(result.rejected[["source_id", "reason"]].itertuples(index=False, name=None))
    assert found == [
        ("alone", "no_owner"),
        ("empty", "missing_value"),
        ("long", "value_too_long"),
        ("long", "value_too_long"),
    ]
    assert result.rejected["owner_id"].isna().sum() == 1


def test_a_fingerprint_tells_null_from_empty_and_knows_where_a_column_ends() -> None:
    frame = pd.DataFrame({"a": [None, "", "x", "xy"], "b": ["", None, "yz", "z"]}, dtype=TEXT)
    assert len(set(fingerprints(frame))) == 4


def test_remaining_ranges_leave_out_what_is_done_whatever_the_cuts() -> None:
    cuts = every(10, 25)
    assert cuts == [Place(0, 0), Place(10, 0), Place(20, 0)]
    whole = remaining(cuts, [])
    assert [str(part) for part in whole] == ["(0,0)-(10,0)", "(10,0)-(20,0)", "(20,0)-"]
    assert [Range.parse(str(part)) for part in whole] == whole
    assert remaining(cuts, whole) == []
    done = [Range(Place(5, 3), Place(12, 0))]
    assert [str(part) for part in remaining(cuts, done)] == ["(0,0)-(5,3)", "(12,0)-(20,0)", "(20,0)-"]
    assert [str(part) for part in remaining(every(7, 25), [Range(Place(20, 0), None)])] == [
        "(0,0)-(7,0)", "(7,0)-(14,0)", "(14,0)-(20,0)",
    ]  # fmt: skip
    assert [str(part) for part in remaining(every(10, 0), [])] == ["(0,0)-"]
