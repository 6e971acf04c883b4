"""For any input: ids are one-to-one and the same each time, names fit and stay distinct, the balance holds."""

from __future__ import annotations

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.table_move.pure.facts import ColumnLimit
from pipelines.table_move.pure.ids import name_based_ids
from pipelines.table_move.pure.mapping import TEXT, map_rows
from pipelines.table_move.pure.ranges import Place, Range, remaining
from pipelines.templates.move import TEMPLATES
from pipelines.templates.transform import BLANKS, map_columns, names

# What PostgreSQL can hold: any character but NUL and lone surrogates.
anything = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
long_or_blank = st.one_of(anything, st.text(" \t\n\v\f\r", max_size=3), anything.map(lambda text: text * 20))
owners = st.integers(1, 4).map(lambda number: f"0000000{number}-0000-4000-8000-000000000000")
claims = st.dictionaries(owners, st.integers(1, 5), max_size=4).map(
    lambda found: " ".join(f"{owner}={count}" for owner, count in found.items()) or None
)
source_row = st.fixed_dictionaries(
    {
        "source_id": st.one_of(anything, st.uuids().map(str)),
        "template_text": st.one_of(anything, st.none()),
        "description": st.one_of(long_or_blank, st.none()),
        "template_name": st.one_of(anything, st.none()),
        "template_type": st.one_of(long_or_blank, st.none()),
        "source_hash": st.just("\\x00"),
        "claims": claims,
        "assigned": st.one_of(st.none(), owners),
        "decided": st.none(),
        "present": st.one_of(st.none(), owners.map(lambda owner: f"{owner}=\\x00")),
    }
)
LIMITS = {
    "template_name": ColumnLimit(characters=255, nullable=False),
    "template_type": ColumnLimit(characters=50, nullable=False),
    "content": ColumnLimit(nullable=False),
}


@given(
    st.lists(source_row, max_size=12, unique_by=lambda row: row["source_id"]),
    st.one_of(st.none(), owners),
    st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_every_row_ends_once_for_each_of_its_owners(lines: list[dict], default: str | None, keep: bool) -> None:
    columns = ("source_id", *TEMPLATES.source.columns, "source_hash", "claims", "assigned", "decided", "present")
    rows = pd.DataFrame(lines, columns=columns).astype(TEXT)
    settled = {"move": TEMPLATES, "transform": map_columns, "default_owner": default, "limits": LIMITS}
    result = map_rows(rows, **settled, keep_target=keep)
    again = map_rows(rows, **settled, keep_target=keep)
    pd.testing.assert_frame_equal(result.pairs, again.pairs)

    expected = set()
    for line in lines:
        claimants = [claim.split("=")[0] for claim in (line["claims"] or "").split()]
        present = (line["present"] or "").partition("=")[0]  # never equal, so it counts only where it is kept
        named = (present if keep else "") or line["assigned"]
        expected |= {(line["source_id"], owner) for owner in {*claimants, *filter(None, [named])} or [default]}
    keys = ["source_id", "owner_id"]
    found = [
        (source, None if pd.isna(owner) else owner)
        for frame in (result.pairs, result.rejected)
        for source, owner in frame[keys].itertuples(index=False)
    ]
    assert sorted(found, key=str) == sorted(expected, key=str)

    copies = (result.pairs["owner_rule"] == "copy").sum() + (result.rejected["owner_rule"] == "copy").sum()
    assert len(lines) + copies == len(result.pairs) + len(result.rejected)
    assert result.pairs["target_id"].is_unique
    assert result.pairs["template_name"].str.len().between(1, 255).all()
    texts = {line["source_id"]: line["template_text"] for line in lines}
    assert all(texts[source] == text for source, text in result.pairs[["source_id", "content"]].itertuples(index=False))


@given(st.lists(st.tuples(anything, st.one_of(st.none(), owners)), unique=True))
def test_ids_are_one_to_one(pairs: list[tuple[str, str | None]]) -> None:
    found = name_based_ids(TEMPLATES.namespace, *zip(*pairs, strict=True)) if pairs else []
    assert len(set(found)) == len(pairs)


@given(st.lists(anything.filter(lambda text: text.strip(BLANKS)).map(lambda text: text * 15), unique=True, max_size=20))
def test_distinct_names_stay_distinct_however_long(values: list[str]) -> None:
    series = pd.Series(values, dtype=TEXT)
    found = names(pd.Series([str(number) for number in range(len(values))], dtype=TEXT), series, series)
    assert found.is_unique
    assert found.str.len().between(1, 255).all()


places = st.builds(Place, st.integers(0, 6), st.integers(0, 3))
parts = st.tuples(places, st.one_of(st.none(), places)).map(lambda pair: Range(*pair))


@given(st.lists(places), st.lists(parts))
def test_what_remains_and_what_is_done_cover_every_place_and_do_not_overlap(
    cuts: list[Place], done: list[Range]
) -> None:
    def holds(part: Range, place: Place) -> bool:
        return part.start <= place and (part.end is None or place < part.end)

    left = remaining(cuts, done)
    for place in (Place(block, line) for block in range(9) for line in range(4)):
        assert sum(holds(part, place) for part in left) == (0 if any(holds(part, place) for part in done) else 1)
