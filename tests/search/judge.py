"""What must hold whatever an installation has, as plain SQL that shares no code with the pipeline and with the oracle of
undisturbed moves. Every question counts violations; `before` holds what stood in the tables before."""

from __future__ import annotations

from tests.application import Application
from tests.oracle import BLANKS
from tests.search.features import PLACES

_NAME = f"""CASE WHEN btrim(coalesce(p.template_name::text, ''), {BLANKS}) <> '' THEN p.template_name::text
    WHEN btrim(coalesce(p.description::text, ''), {BLANKS}) <> ''
    THEN btrim((regexp_match(ltrim(p.description::text, {BLANKS}), '^[^\\r\\n]*'))[1], {BLANKS})
    ELSE 'Migrated Template ' || p.template_id::text END"""
_CUT = f"""CASE WHEN length({_NAME}) <= 255 THEN {_NAME}
    ELSE left({_NAME}, 246) || '~' || left(encode(sha256(convert_to({_NAME}, 'UTF8')), 'hex'), 8) END"""
_EQUAL = f"""convert_to(t.content::text, 'UTF8') = convert_to(p.template_text::text, 'UTF8')
    AND convert_to(t.template_name::text, 'UTF8') = convert_to({_CUT}, 'UTF8')
    AND t.template_type::text COLLATE "C" = (CASE WHEN btrim(coalesce(p.template_type::text, ''), {BLANKS}) = ''
                                 THEN 'stage_selection' ELSE p.template_type::text END) COLLATE "C\""""
_PAIRS = " UNION ALL ".join(
    f"SELECT b.stage_id, s.business_id, b.{place}::text AS was, s.{place}::text AS is FROM before.stages b"
    " JOIN public.stages s USING (stage_id)"
    for place in PLACES
)
MOVED = {
    "an old row that has no equal row": f"""
        SELECT count(*) FROM before.prompt_templates p
        WHERE NOT EXISTS (SELECT FROM public.templates t WHERE {_EQUAL})""",
    "a reference that does not lead to an equal row of its business": f"""
        SELECT count(*) FROM ({_PAIRS}) r JOIN before.prompt_templates p ON p.template_id::text COLLATE "C" = r.was COLLATE "C"
        WHERE NOT EXISTS (SELECT FROM public.templates t
                          WHERE t.template_id::text COLLATE "C" = r.is COLLATE "C" AND t.business_id = r.business_id AND {_EQUAL})""",
    "a reference to something else that changed": f"""
        SELECT count(*) FROM ({_PAIRS}) r WHERE r.is COLLATE "C" IS DISTINCT FROM r.was COLLATE "C"
        AND NOT EXISTS (SELECT FROM before.prompt_templates p WHERE p.template_id::text COLLATE "C" = r.was COLLATE "C")""",
    "a row of the new table that changed": """
        SELECT count(*) FROM before.templates b LEFT JOIN public.templates t USING (template_id)
        WHERE to_jsonb(t) IS DISTINCT FROM to_jsonb(b)""",
    "more rows of the new table than the map has": """
        SELECT count(*) FROM public.templates t
        WHERE NOT EXISTS (SELECT FROM before.templates b WHERE b.template_id = t.template_id)
          AND NOT EXISTS (SELECT FROM pipelines.id_map m WHERE m.target_id = t.template_id)""",
    "a changed row of the old table": """
        SELECT count(*) FROM (SELECT to_jsonb(p) AS row FROM before.prompt_templates p) b
        FULL JOIN (SELECT to_jsonb(p) AS row FROM {old} p) o USING (row) WHERE b.row IS NULL OR o.row IS NULL""",
    "a stage that changed in another column": f"""
        SELECT count(*) FROM before.stages b FULL JOIN public.stages s USING (stage_id)
        WHERE to_jsonb(b) - '{{{",".join(PLACES)}}}'::text[] IS DISTINCT FROM to_jsonb(s) - '{{{",".join(PLACES)}}}'::text[]""",
}


def moved(application: Application) -> dict[str, int]:
    """The questions that are not answered with zero, after a run that said 0."""
    old = old_table(application)
    if old is None:
        return {"no old table": 1}
    found = {name: application.value(question.replace("{old}", old)) for name, question in MOVED.items()}
    return {name: count for name, count in found.items() if count}


def old_table(application: Application) -> str | None:
    found = application.rows(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = 'prompt_templates' AND (n.nspname = 'public' OR n.nspname LIKE 'pipelines\\_retired\\_%')"
        " AND c.relkind = 'r' ORDER BY 1"
    )
    return found[0][0] if found else None


def rows(application: Application) -> dict[str, list[str]]:
    """The rows of the four tables, without the times that triggers keep."""
    return {
        table: sorted(
            str(row) for (row,) in application.rows(f"SELECT to_jsonb(t) - 'updated_at' FROM public.{table} t")
        )
        for table in ("businesses", "prompt_templates", "templates", "stages")
        if application.exists(f"public.{table}")
    }


def journal_with(application: Application, word: str) -> list[str]:
    """The tables of the journal that hold this word."""
    tables = application.rows(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'pipelines'"
    )
    return [
        name
        for (name,) in tables
        if application.value(f"SELECT count(*) FROM {name} t WHERE t::text LIKE %s", (f"%{word}%",))
    ]
