"""A believable ICMP database, generation A: deterministic by seed, of any size, with the oddities of a long life."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from itertools import islice
from pathlib import Path
from random import Random
from uuid import UUID

from psycopg2 import extensions

SCHEMA = Path(__file__).parents[2] / "sql" / "demo" / "application.sql"
DEFAULT_BUSINESS = "Northwind Support"
DEFAULT_ROWS = 2_000
STAGES_PER_TEMPLATE = 0.3

_BUSINESSES = (
    DEFAULT_BUSINESS,
    "Acme Robotics",
    "Bäckerei Grünwald",
    "Café del Mar",
    "Delta Freight",
    "Estudio Ñandú",
    "Fjord & Sons",
    "グリーン商事",
    "Hanover Legal",
    "Ірпінь Логістика",
    "Juniper Health",
    "Kestrel Travel",
)
_TYPES = ("stage_selection", "data_extraction", "response_generation")
_SUBJECTS = ("refund", "delivery", "appointment", "invoice", "complaint", "onboarding", "renewal", "warranty")
_TONES = ("polite", "short", "formal", "warm", "neutral")
_SENTENCES = (
    "You answer for {business_name}; the customer is called {{customer_name}}.",
    "Read the last message: {message}. Decide which stage of the conversation comes next.",
    'Return JSON such as {"stage": "…", "confidence": 0.9}, nothing else.',
    "If the order number is missing, ask for it once – not twice.",
    "Never promise a date; say “as soon as we can”.",
    "Extract name, e-mail and {field}, and leave out what isn't there.",
    "Ton: freundlich, aber knapp. Größe und Maße angeben.",
    "Keep it under 120 words, in the customer's own language. 谢谢 🙏",
    "History:\n{{history}}\n---\nSummary:\t{summary}",
)


def create(connection: extensions.connection, *, rows: int = DEFAULT_ROWS, seed: int = 7) -> None:
    """Create the application's tables in an empty schema on the search path and fill them.

    rows: of prompt_templates; there are 0.3 stages per row, with up to three references each.
    """
    random = Random(seed)
    businesses = [str(UUID(int=random.getrandbits(128), version=4)) for _ in _BUSINESSES]
    ids = list(_template_ids(random, rows))
    with connection, connection.cursor() as cursor:
        cursor.execute(SCHEMA.read_text(encoding="utf-8"))
        _copy(cursor, "businesses (business_id, api_key, owner_id, business_name)", _business_rows(random, businesses))
        _copy(
            cursor,
            "prompt_templates (template_id, template_text, description, variables, template_name, template_type)",
            (_template_row(random, number, source_id) for number, source_id in enumerate(ids)),
        )
        newer = list(_newer_templates(random, businesses))
        _copy(cursor, "templates (template_id, business_id, template_name, template_type, content)", newer)
        _copy(
            cursor,
            "stages (stage_id, business_id, agent_id, stage_name, stage_description, stage_type,"
            " stage_selection_template_id, data_extraction_template_id, response_generation_template_id)",
            _stage_rows(random, businesses, ids, newer, int(rows * STAGES_PER_TEMPLATE)),
        )
    connection.set_session(autocommit=True)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE businesses, prompt_templates, templates, stages")


def _template_ids(random: Random, rows: int) -> Iterator[str]:
    """UUIDs, slugs, numbers with and without leading zeros, and a UUID in capitals, which is plain text."""
    for number in range(rows):
        kind = random.random()
        uuid = str(UUID(int=random.getrandbits(128), version=4))
        if number % 997 == 5:
            yield uuid.upper()
        elif kind < 0.4:
            yield uuid
        elif kind < 0.8:
            yield f"{random.choice(_TONES)}-{random.choice(_SUBJECTS)}-{number}"
        elif kind < 0.9:
            yield f"{number:06d}"
        else:
            yield str(number + 1_000_000)


def _template_row(random: Random, number: int, source_id: str) -> Sequence[object]:
    subject, tone = random.choice(_SUBJECTS), random.choice(_TONES)
    text = "\n".join(random.sample(_SENTENCES, 5)) + f"\n\nAbout: {subject} ({number})."
    description = f"{tone.title()} answer about a {subject}.\nWritten for the {subject} team." if number % 3 else None
    name: str | None = f"{tone.title()} {subject} {number}"
    kind: str | None = random.choice(_TYPES)
    if number % 17 == 0:
        name = None
    elif number % 29 == 0:
        name = "  "
    elif number % 211 == 0:
        name, description = None, f"{subject}: " + "a very long first line, " * 20
    if number % 53 == 0:
        kind = f"default_{kind}"
    elif number % 401 == 0:
        kind = "legacy"
    elif number % 307 == 0:
        kind = None
    if number % 499 == 7:
        text = " \n"
    return source_id, text, description, _variables(text, number), name, kind


def _variables(text: str, number: int) -> list[str]:
    """The placeholders of the text, but now and then one is forgotten, or one is declared that is not there."""
    used = sorted(set(re.findall(r"\{(\w+)\}", text)))
    if number % 83 == 11:
        return used[1:]
    return [*used, "signature"] if number % 97 == 13 else used


def _business_rows(random: Random, businesses: Sequence[str]) -> Iterator[Sequence[object]]:
    for business, name in zip(businesses, _BUSINESSES, strict=True):
        yield business, f"demo-{random.getrandbits(64):016x}", str(UUID(int=random.getrandbits(128), version=4)), name


def _newer_templates(random: Random, businesses: Sequence[str]) -> Iterator[Sequence[object]]:
    """Rows that the application has written into the new table already."""
    for number in range(24):
        business = businesses[number % len(businesses)]
        uuid = str(UUID(int=random.getrandbits(128), version=4))
        yield (
            uuid,
            business,
            f"New style {number}",
            random.choice(_TYPES),
            f"Hello {{{{customer_name}}}}, case {number}.",
        )


def _stage_rows(
    random: Random, businesses: Sequence[str], ids: Sequence[str], newer: Sequence[Sequence[object]], stages: int
) -> Iterator[Sequence[object]]:
    """Most stages use templates of their own business, some a shared one, a few a newer row; some columns are empty."""
    shared = ids[: max(1, len(ids) // 20)]
    for number in range(stages):
        home = number % len(businesses)
        own = range(home, len(ids), len(businesses))
        references = []
        for _ in range(3):
            kind = random.random()
            if kind < 0.1 or not ids:
                references.append(None)
            elif kind < 0.2:
                references.append(random.choice(shared))
            elif kind < 0.22:
                # Now and then a stage uses another business's row: nothing stopped it.
                foreign = number % 16 == 3
                references.append(newer[home if not foreign else (home + 1) % len(businesses)][0])
            else:
                references.append(ids[random.choice(own)] if own else random.choice(ids))
        stage = str(UUID(int=random.getrandbits(128), version=4))
        agent = str(UUID(int=random.getrandbits(128), version=4))
        subject = random.choice(_SUBJECTS)
        yield stage, businesses[home], agent, f"{subject} {number}", f"Handles {subject}.", "conversation", *references


def _copy(cursor: extensions.cursor, into: str, rows: Iterable[Sequence[object]]) -> None:
    rows = iter(rows)
    while chunk := list(islice(rows, 5_000)):
        cursor.copy_expert(f"COPY {into} FROM STDIN", StringIO("".join(map(_line, chunk))))


def _line(row: Sequence[object]) -> str:
    return "\t".join(map(_field, row)) + "\n"


def _field(value: object) -> str:
    if value is None:
        return r"\N"
    text = "{" + ",".join(json.dumps(item) for item in value) + "}" if isinstance(value, list) else str(value)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
