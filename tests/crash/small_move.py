"""A small move with everything in it: shared rows, adopted and present ones, foreign keys, empty and late references."""

from __future__ import annotations

from uuid import UUID

from pipelines.templates import demo
from tests.application import Application

DEFAULT = "Business 1"
ROWS = 60
STAGES = 30


def fill(application: Application) -> None:
    """The application's tables with 60 old rows on several pages of the heap, used by four businesses."""
    application.execute(demo.SCHEMA.read_text(encoding="utf-8"))
    businesses = [application.business(number) for number in range(1, 5)]
    keys = [application.template(_key(number), _text(number)) for number in range(ROWS)]
    for number in range(STAGES):
        own, shared = keys[number], keys[(number * 7) % 9]
        application.stage(number, businesses[number % 4], own, shared if number % 3 else None, shared)
    for number in (3, 4):  # equal rows under another id: adopted
        _newer(application, UUID(int=900 + number), businesses[number % 4], number)
    _newer(application, UUID(int=700 + 5), businesses[0], 5)  # the same row, present under its own id
    _newer(application, UUID(int=999), businesses[2], 5000)  # the application's own
    application.execute(
        "ALTER TABLE stages ADD CONSTRAINT one FOREIGN KEY (stage_selection_template_id) REFERENCES prompt_templates;"
        "COMMENT ON CONSTRAINT one ON stages IS 'the old world''s';"
        "ALTER TABLE stages ADD CONSTRAINT two FOREIGN KEY (response_generation_template_id)"
        " REFERENCES prompt_templates NOT VALID;"
        "UPDATE stages SET created_at = '2020-01-01'; UPDATE businesses SET created_at = '2020-01-01';"
        "ANALYZE"
    )


def write_late(application: Application) -> None:
    """After the switch somebody refers to an old row by its old id."""
    owner, source_id = application.rows(
        "SELECT owner_id, source_id FROM pipelines.id_map WHERE source_id <> target_id::text ORDER BY 1, 2 LIMIT 1"
    )[0]
    application.stage(5_000, owner, source_id, source_id)


def _key(number: int) -> str:
    return str(UUID(int=700 + number)) if number % 5 == 0 else f"old-{number:03d}"


def _text(number: int) -> str:
    return f"Hello {{name}}, case {number}. " + "A line of the text that fills a page.\n" * 14


def _newer(application: Application, key: UUID, business: str, number: int) -> None:
    old = _key(number)
    application.execute(
        "INSERT INTO templates (template_id, business_id, template_name, template_type, content)"
        " VALUES (%s, %s, %s, 'data_extraction', %s)",
        (str(key), business, f"name of {old}", _text(number)),
    )
