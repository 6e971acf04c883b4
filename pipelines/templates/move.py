"""The declaration of the templates move."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from pipelines.table_move.spec import Move, Owner, Referencing, Source, Target

FOLDER = Path(__file__).parents[2]

TEMPLATES = Move(
    name="templates",
    source=Source(
        table="prompt_templates",
        key="template_id",
        columns=("template_text", "description", "template_name", "template_type"),
        not_carried=("description", "variables"),
        verdicts=FOLDER / "sql" / "templates" / "source.sql",
    ),
    target=Target(
        table="templates",
        key="template_id",
        owner="business_id",
        columns=("template_name", "template_type", "content"),
        carried=(("content", "template_text"),),
        back=(("template_name", "template_name"), ("template_type", "template_type"), ("content", "template_text")),
    ),
    owner=Owner(table="businesses", key="business_id", label="business_name"),
    references=(
        Referencing(
            table="stages",
            key="stage_id",
            owner="business_id",
            columns=(
                "stage_selection_template_id",
                "data_extraction_template_id",
                "response_generation_template_id",
                "selection_template_id",
                "extraction_template_id",
                "response_template_id",
            ),
        ),
    ),
    namespace=UUID("6f1c2f0e-8d52-4f0b-9c43-0a7d5b3e21c8"),
    transform="pipelines.templates.transform:map_columns",
    suites=FOLDER / "expectations" / "templates",
)
