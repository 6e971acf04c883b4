"""Columns of `default_templates` to columns of `template_defaults`. Pure functions over Arrow-backed frames."""

from __future__ import annotations

import pandas as pd


def map_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Texts, arrays and JSON are carried as PostgreSQL writes them; a missing list of variables is an empty one."""
    kept = rows[["template_type", "variables", "metadata"]]
    return kept.assign(content=rows["template_text"], variables=rows["variables"].fillna("{}"))
