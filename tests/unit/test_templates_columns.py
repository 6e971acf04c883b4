"""Names, types and texts of the templates move, case by case."""

from __future__ import annotations

import hashlib

import pandas as pd
import pytest

from pipelines.templates.transform import TEXT, first_lines, map_columns, names, types


def text(*values: str | None) -> pd.Series:
    return pd.Series(list(values), dtype=TEXT)


LONG = "x" * 300
CUT = "x" * 246 + "~" + hashlib.sha256(LONG.encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("name", "description", "expected"),
    [
        ("kept", "unused", "kept"),
        ("  kept with blanks ", None, "  kept with blanks "),
        ("\u00a0", "unused", "\u00a0"),
        ("\u3000", "unused", "\u3000"),
        (None, "first\nsecond", "first"),
        ("", "\r\n \t\v\f\n  first \r\nsecond", "first"),
        (" \t\n\v\f\r", "one\rtwo", "one"),
        (None, "\u00a0\nsecond", "\u00a0"),
        (None, None, "Migrated Template id-1"),
        ("", " \n ", "Migrated Template id-1"),
        (None, LONG, CUT),
        ("n" * 255, None, "n" * 255),
        (None, "ü" * 255, "ü" * 255),
    ],
)
def test_the_name_is_the_old_one_else_a_line_of_the_description_else_made_of_the_id(
    name: str | None, description: str | None, expected: str
) -> None:
    (found,) = names(text("id-1"), text(name), text(description))
    assert found == expected


def test_a_name_made_of_a_long_id_is_cut_to_255_characters() -> None:
    (found,) = names(text("i" * 255), text(None), text(None))
    whole = "Migrated Template " + "i" * 255
    assert found == whole[:246] + "~" + hashlib.sha256(whole.encode()).hexdigest()[:8]
    assert len(found) == 255


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(None, "stage_selection"), ("", "stage_selection"), (" \t", "stage_selection"), (" odd ", " odd "), ("A", "A")],
)
def test_a_blank_type_becomes_stage_selection_and_any_other_stays(kind: str | None, expected: str) -> None:
    assert types(text(kind)).tolist() == [expected]


def test_lines_end_at_lf_cr_and_crlf_only() -> None:
    assert first_lines(text("a\u2028b\x0bc\nd", "\u0085", None)).tolist()[:2] == ["a\u2028b\x0bc", "\u0085"]


def test_the_text_is_carried_as_it_is_and_the_index_is_kept() -> None:
    rows = pd.DataFrame(
        {
            "source_id": text("1", "2"),
            "template_text": text(" \\N \r\n{x} ", ""),
            "description": text(None, None),
            "template_name": text("a", "b"),
            "template_type": text(None, "t"),
        }
    ).set_index(pd.Index([5, 9]))
    mapped = map_columns(rows)
    assert mapped["content"].tolist() == [" \\N \r\n{x} ", ""]
    assert mapped.index.tolist() == [5, 9]
    assert list(mapped.columns) == ["template_name", "template_type", "content"]
