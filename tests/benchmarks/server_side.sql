-- The yardstick: owners, map and rows of the templates move by server-side SQL alone, with the same columns, indexes,
-- ids and fingerprints. Run in a fresh copy of the demonstration; `pipelines.id_map` is the journal's own definition.
SET jit = off;
SET work_mem = '64MB';
CREATE TABLE claim AS
SELECT value, business_id, sum(uses) AS uses FROM (
    SELECT stage_selection_template_id AS value, business_id, count(*) AS uses FROM stages GROUP BY 1, 2
    UNION ALL SELECT data_extraction_template_id, business_id, count(*) FROM stages GROUP BY 1, 2
    UNION ALL SELECT response_generation_template_id, business_id, count(*) FROM stages GROUP BY 1, 2) r
WHERE value IS NOT NULL GROUP BY 1, 2;
ANALYZE claim;

INSERT INTO pipelines.id_map (move, source_id, owner_id, target_id, disposition, owner_rule, source_hash, target_hash,
                              run_id)
SELECT 'templates', source_id, owner_id,
       CASE WHEN rank = 1 AND source_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
            THEN source_id::uuid
            ELSE encode(set_byte(set_byte(digest, 6, (get_byte(digest, 6) & 15) | 128),
                                 8, (get_byte(digest, 8) & 63) | 128), 'hex')::uuid END,
       'inserted', CASE WHEN rank = 1 THEN 'references' ELSE 'copy' END, source_hash, target_hash, 1
FROM (
    SELECT p.template_id AS source_id, coalesce(c.rank, 1) AS rank,
           coalesce(c.business_id, (SELECT min(business_id::text)::uuid FROM businesses)) AS owner_id,
           substring(sha256('\x6f1c2f0e8d524f0b9c430a7d5b3e21c8'::bytea || convert_to(p.template_id, 'UTF8')
               || CASE WHEN coalesce(c.rank, 1) = 1 THEN ''::bytea
                       ELSE '\x00'::bytea || convert_to(c.business_id::text, 'UTF8') END) FROM 1 FOR 16) AS digest,
           sha256(convert_to(coalesce(octet_length(template_text) || ':' || template_text, '-')
               || coalesce(octet_length(description) || ':' || description, '-')
               || coalesce(octet_length(template_name) || ':' || template_name, '-')
               || coalesce(octet_length(template_type) || ':' || template_type, '-'), 'UTF8')) AS source_hash,
           sha256(convert_to(coalesce(octet_length(template_name) || ':' || template_name, '-')
               || coalesce(octet_length(template_type) || ':' || template_type, '-')
               || coalesce(octet_length(template_text) || ':' || template_text, '-'), 'UTF8')) AS target_hash
    FROM prompt_templates p LEFT JOIN (
        SELECT *, row_number() OVER (PARTITION BY value ORDER BY uses DESC, business_id) AS rank FROM claim
    ) c ON c.value = p.template_id
) o;
ANALYZE pipelines.id_map;

INSERT INTO templates (template_id, business_id, template_name, template_type, content)
SELECT m.target_id, m.owner_id,
       left(CASE WHEN btrim(coalesce(p.template_name, '')) <> '' THEN p.template_name
                 WHEN btrim(coalesce(p.description, '')) <> '' THEN split_part(p.description, E'\n', 1)
                 ELSE 'Migrated Template ' || p.template_id END, 255),
       coalesce(p.template_type, 'stage_selection'), p.template_text
FROM pipelines.id_map m JOIN prompt_templates p ON p.template_id = m.source_id;
