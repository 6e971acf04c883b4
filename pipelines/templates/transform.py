"""Columns of `prompt_templates` to columns of `templates`. Pure functions over Arrow-backed frames."""

from __future__ import annotations

from hashlib import sha256

import pandas as pd
import pyarrow as pa

TEXT = pd.ArrowDtype(pa.string())
BLANKS = " \t\n\v\f\r"  # ASCII white space: what counts as blank, in names and types
NAME_LIMIT = 255  # characters of templates.template_name
DEFAULT_TYPE = "stage_selection"


def map_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Map source rows to target rows.

    rows: Arrow strings source_id, template_text, description, template_name, template_type.
    Returns template_name, template_type, content with the same index. The text is carried byte for byte.
    """
    return pd.DataFrame(
        {
            "template_name": names(rows["source_id"], rows["template_name"], rows["description"]),
            "template_type": types(rows["template_type"]),
            "content": rows["template_text"],
        }
    )


def names(source_id: pd.Series, name: pd.Series, description: pd.Series) -> pd.Series:
    """The old name unless it is blank, else the first line of the description that is not, else one made of the id."""
    chosen, nameless = name.astype(TEXT), _blank(name)
    chosen[nameless] = first_lines(description[nameless])
    nameless = _blank(chosen)
    chosen[nameless] = "Migrated Template " + source_id[nameless].astype(TEXT)
    return shortened(chosen)


def types(template_type: pd.Series) -> pd.Series:
    """The old type, or the default where it is blank or missing."""
    return template_type.where(~_blank(template_type), DEFAULT_TYPE).astype(TEXT)


def first_lines(text: pd.Series) -> pd.Series:
    """The first line with more than ASCII white space, trimmed; lines end at LF, CR or CRLF. Empty where there is none.

    Line ends are white space themselves, so stripping the text from the left also skips its blank lines.
    """
    first = text.astype(TEXT).str.lstrip(BLANKS).str.extract(r"\A([^\r\n]*)", expand=False)
    return first.astype(TEXT).str.rstrip(BLANKS)


def shortened(text: pd.Series) -> pd.Series:
    """Texts over 255 characters: the first 246, `~`, and 8 hexadecimal digits of the SHA-256 of the whole."""
    long = (text.str.len() > NAME_LIMIT).fillna(False).astype(bool)
    if not long.any():
        return text
    cut = [f"{value[: NAME_LIMIT - 9]}~{sha256(value.encode()).hexdigest()[:8]}" for value in text[long]]
    text = text.copy()
    text[long] = pd.Series(cut, index=text.index[long], dtype=TEXT)
    return text


def _blank(text: pd.Series) -> pd.Series:
    return (text.astype(TEXT).str.strip(BLANKS).fillna("") == "").astype(bool)
