"""The declaration of the move of the fallback templates."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from pipelines.table_move.spec import Move, Source, Target

DEFAULT_TEMPLATES = Move(
    name="default_templates",
    source=Source(
        table="default_templates",
        key="template_id",
        columns=("template_text", "variables", "template_type", "metadata"),
    ),
    target=Target(
        table="template_defaults",
        key="template_id",
        owner=None,
        columns=("template_type", "content", "variables", "metadata"),
        carried=(("template_type", "template_type"), ("content", "template_text"), ("metadata", "metadata")),
        back=(
            ("template_type", "template_type"),
            ("content", "template_text"),
            ("variables", "variables"),
            ("metadata", "metadata"),
        ),
    ),
    owner=None,
    references=(),
    namespace=UUID("642379ee-c349-4eee-b32f-042fefd451da"),
    transform="pipelines.default_templates.transform:map_columns",
    suites=Path(__file__).parents[2] / "expectations" / "default_templates",
)
