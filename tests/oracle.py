"""What must hold after a move, as plain SQL that shares no code with the pipeline.

Every question counts violations. `{old}` is where the old table is now. `before.stages` and `before.templates` were
kept before the run (see `Application.snapshot`), `{default}` is the default business.
"""

from __future__ import annotations

from functools import reduce

from tests.application import Application

BLANKS = r"E' \t\n\x0B\f\r'"

# The owner of each old row by the rules: the business that refers to it most often, ties by the smallest id, else the
# default; and a copy for every other business that refers to it.
OWNERS = """
    SELECT p.template_id AS source_id, coalesce(c.business_id, '{default}'::uuid) AS owner_id, coalesce(c.rank, 1) AS rank
    FROM {old} p LEFT JOIN (
        SELECT value, business_id, row_number() OVER (PARTITION BY value ORDER BY count(*) DESC, business_id) AS rank
        FROM (SELECT stage_selection_template_id AS value, business_id FROM before.stages
              UNION ALL SELECT data_extraction_template_id, business_id FROM before.stages
              UNION ALL SELECT response_generation_template_id, business_id FROM before.stages) r
        WHERE value IS NOT NULL GROUP BY value, business_id
    ) c ON c.value = p.template_id"""

IDS = """
    SELECT source_id, owner_id, rank,
           CASE WHEN rank = 1 AND source_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
                THEN source_id::uuid
                ELSE encode(set_byte(set_byte(digest, 6, (get_byte(digest, 6) & 15) | 128),
                                     8, (get_byte(digest, 8) & 63) | 128), 'hex')::uuid END AS target_id
    FROM (SELECT *, substring(sha256('\\x6f1c2f0e8d524f0b9c430a7d5b3e21c8'::bytea || convert_to(source_id, 'UTF8')
                 || CASE WHEN rank = 1 THEN ''::bytea
                         ELSE '\\x00'::bytea || convert_to(owner_id::text, 'UTF8') END) FROM 1 FOR 16) AS digest
          FROM ({owners}) o) d"""

REFERENCES = """
    SELECT stage_id, business_id, 1 AS place, stage_selection_template_id AS value FROM {stages}
    UNION ALL SELECT stage_id, business_id, 2, data_extraction_template_id FROM {stages}
    UNION ALL SELECT stage_id, business_id, 3, response_generation_template_id FROM {stages}"""

QUESTIONS = {
    "rows of the old table without a row of their own, or with a wrong id or owner": """
        SELECT count(*) FROM ({ids}) i LEFT JOIN public.templates t
        ON t.template_id = i.target_id AND t.business_id = i.owner_id WHERE t.template_id IS NULL""",
    "rows of the new table that come from nowhere": """
        SELECT count(*) FROM public.templates t
        WHERE NOT EXISTS (SELECT FROM before.templates b WHERE b.template_id = t.template_id)
          AND NOT EXISTS (SELECT FROM ({ids}) i WHERE i.target_id = t.template_id)""",
    "texts that are not equal byte for byte": """
        SELECT count(*) FROM ({ids}) i JOIN {old} p ON p.template_id = i.source_id
        JOIN public.templates t ON t.template_id = i.target_id
        WHERE convert_to(t.content, 'UTF8') <> convert_to(p.template_text, 'UTF8')""",
    "names that the rules do not give": """
        SELECT count(*) FROM ({ids}) i JOIN {old} p ON p.template_id = i.source_id
        JOIN public.templates t ON t.template_id = i.target_id
        CROSS JOIN LATERAL (SELECT CASE
            WHEN btrim(coalesce(p.template_name, ''), {blanks}) <> '' THEN p.template_name
            WHEN btrim(coalesce(p.description, ''), {blanks}) <> ''
            THEN btrim((regexp_match(ltrim(p.description, {blanks}), '^[^\\r\\n]*'))[1], {blanks})
            ELSE 'Migrated Template ' || p.template_id END AS whole) n
        WHERE t.template_name <> CASE WHEN length(whole) <= 255 THEN whole
            ELSE left(whole, 246) || '~' || left(encode(sha256(convert_to(whole, 'UTF8')), 'hex'), 8) END""",
    "types that the rules do not give": """
        SELECT count(*) FROM ({ids}) i JOIN {old} p ON p.template_id = i.source_id
        JOIN public.templates t ON t.template_id = i.target_id
        WHERE t.template_type <> CASE WHEN btrim(coalesce(p.template_type, ''), {blanks}) = ''
                                      THEN 'stage_selection' ELSE p.template_type END""",
    "rows that stood in the new table before and were changed": """
        SELECT count(*) FROM before.templates b LEFT JOIN public.templates t USING (template_id)
        WHERE t IS DISTINCT FROM b""",
    "old references that do not point to a row of their own business with the old text": """
        SELECT count(*) FROM ({before}) b JOIN ({after}) a USING (stage_id, place)
        JOIN {old} p ON p.template_id = b.value
        LEFT JOIN public.templates t ON t.template_id::text = a.value
        WHERE t.template_id IS NULL OR t.business_id <> b.business_id
           OR convert_to(t.content, 'UTF8') <> convert_to(p.template_text, 'UTF8')""",
    "references that were none of the old table's and were changed": """
        SELECT count(*) FROM ({before}) b JOIN ({after}) a USING (stage_id, place)
        WHERE NOT EXISTS (SELECT FROM {old} p WHERE p.template_id = b.value) AND a.value IS DISTINCT FROM b.value""",
    "stages that lost or won a reference": """
        SELECT abs((SELECT count(*) FROM ({before}) b WHERE value IS NOT NULL)
                 - (SELECT count(*) FROM ({after}) a WHERE value IS NOT NULL))""",
    "anything else that changed in the stages": """
        SELECT count(*) FROM before.stages b FULL JOIN public.stages s USING (stage_id)
        WHERE (b.business_id, b.stage_name, b.stage_description, b.stage_type, b.created_at, b.agent_id)
              IS DISTINCT FROM (s.business_id, s.stage_name, s.stage_description, s.stage_type, s.created_at, s.agent_id)""",
    "pairs of the map that the rules do not give": """
        SELECT count(*) FROM ({ids}) i FULL JOIN (SELECT * FROM pipelines.id_map WHERE move = 'templates') m
        ON m.source_id = i.source_id AND m.owner_id = i.owner_id
        WHERE m.target_id IS DISTINCT FROM i.target_id OR (m.owner_rule = 'copy') IS DISTINCT FROM (i.rank > 1)""",
    "sessions, triggers and temporary things left behind": """
        SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pipelines')
             + (SELECT count(*) FROM pipelines.claim) + (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')
             + (SELECT count(*) FROM pg_prepared_xacts) + (SELECT count(*) FROM pg_index WHERE NOT indisvalid)
             + (SELECT count(*) FROM pg_trigger t WHERE NOT tgisinternal AND tgrelid::regclass::text !~ 'prompt_templates')""",
}


def violations(application: Application, default_business: str) -> dict[str, int]:
    """The questions whose answer is not zero. A complete, undisturbed move has none."""
    old = application.value(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = 'prompt_templates' AND n.nspname <> 'before'"
    )
    owners = OWNERS.replace("{old}", old).replace("{default}", default_business)
    parts = {
        "{ids}": IDS.replace("{owners}", owners),
        "{old}": old,
        "{blanks}": BLANKS,
        "{before}": REFERENCES.replace("{stages}", "before.stages"),
        "{after}": REFERENCES.replace("{stages}", "public.stages"),
    }
    found = {}
    application.execute("SET enable_nestloop = off; SET jit = off")
    for question, statement in QUESTIONS.items():
        count = application.value(reduce(lambda whole, part: whole.replace(*part), parts.items(), statement))
        if count:
            found[question] = count
    application.execute("RESET enable_nestloop")
    return found
