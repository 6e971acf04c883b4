-- name: source
-- The source as found: one row per row of the old table, with the verdicts that the move declares. What a suite does
-- not ask for is not computed.
SELECT s.{source_key}::text AS source_id,
       CASE WHEN octet_length(s.{source_key}::text) BETWEEN 32 AND 41
             AND length(translate(s.{source_key}::text, '{}-', '')) = 32
             AND s.{source_key}::text COLLATE "C" ~ ('^(' || {groups} || '|[{]' || {groups} || '[}])$')
            THEN s.{source_key}::text::uuid::text = s.{source_key}::text ELSE true END AS key_is_canonical,
       count(*) OVER (PARTITION BY {carried_of_s}) = 1 AS content_is_alone,
       {verdicts}{source_all_columns}
FROM {source} s

-- name: target
-- The target as loaded: one row per source row and owner. Every verdict is true or false, never unknown, so that one
-- pass counts them all. as_loaded is about rows that this move inserted, as_it_was about those that were there before.
-- content_is_alone: the owner has no other row, unknown to the map, with the same content. settled: the move is done, so that later edits by tenants are information. moving: nobody is
-- excluded yet, so that what changed since the last look is left to the switch.
SELECT m.source_id, m.owner_id::text AS owner_id, m.target_id::text AS target_id, m.disposition, m.owner_rule,
       {settled} OR t.{target_key} IS NOT NULL AS present,
       {settled} OR t.{target_key} IS NULL OR {owner_of_t} = m.owner_id AS owner_is_right,
       {settled} OR t.{target_key} IS NULL OR NOT m.loaded OR ({target_hash} = m.target_hash) IS TRUE AS as_loaded,
       {settled} OR t.{target_key} IS NULL OR m.loaded OR m.disposition = 'conflict' OR ({target_hash} = m.target_hash) IS TRUE AS as_it_was,
       {settled} OR ({source_hash} = m.source_hash) IS TRUE AS source_as_read,
       NOT {settled} OR ({target_hash} = m.target_hash) IS TRUE AS unchanged_since,
       {settled} OR t.{target_key} IS NULL OR ({owner_of_t}, {carried_of_t}) NOT IN (
           SELECT {owner_of_o}, {carried_of_o} FROM {target} o
           LEFT JOIN pipelines.id_map k ON k.target_id = o.{target_key} AND k.move = {move} WHERE k.move IS NULL
       ) AS content_is_alone,
       {settled} OR {switched} OR CASE m.owner_rule
           WHEN 'owners_file' THEN (m.source_id, m.owner_id) IN (
               SELECT a.source_id, a.owner_id FROM pipelines.assigned_owner a WHERE a.move = {move})
           WHEN 'default' THEN m.owner_id IN (SELECT v.default_owner FROM pipelines.move v WHERE v.move = {move})
           WHEN 'present' THEN true
           ELSE NOT EXISTS (SELECT FROM pipelines.claim c WHERE c.move = {move}) OR (m.source_id, m.owner_id) IN (
               SELECT c.source_id, c.owner_id FROM pipelines.claim c WHERE c.move = {move})
           END AS owner_follows_the_rules,
       {carried}{target_columns_unsettled}
FROM pipelines.id_map m
LEFT JOIN {target} t ON t.{target_key} = m.target_id
LEFT JOIN {source} s ON s.{source_key}::text COLLATE "C" = m.source_id
WHERE m.move = {move} AND (NOT {moving} OR {source_hash} = m.source_hash)

-- name: references
-- The references: one row per filled column of a referencing row, with a verdict on it.
-- switched: they have been rewired. settled: the move is done, so that what tenants delete is their own affair.
-- moving: nobody is excluded yet; a reference to an old row that the map does not have yet is left to the switch.
SELECT c.table_name, c.row_key, c.column_name, c.owner_id::text AS owner_id, c.value,
       c.successor_id::text AS successor_id,
       CASE WHEN {moving} AND s.{source_key} IS NOT NULL AND c.class IN ('dangling', 'foreign') THEN 'unsettled'
            WHEN c.class = 'dangling' AND ({dangling_allowed} OR {settled}) THEN 'dangling_allowed'
            WHEN c.class = 'to_rewire' AND {switched} THEN 'left_behind'
            WHEN c.class = 'to_rewire' AND o.{target_key} IS NULL THEN 'without_successor'
            WHEN c.class = 'to_rewire' AND {owner_of_o} <> c.owner_id THEN 'successor_of_another_owner'
            ELSE c.class END AS verdict
FROM ({classified}) c
LEFT JOIN {target} o ON o.{target_key} = c.successor_id
LEFT JOIN {source} s ON {moving} AND s.{source_key}::text COLLATE "C" = c.value
WHERE c.class <> 'null'

-- name: reconciliation
-- The balance: one row per owner, one for rows without an owner, one for the whole, which also answers the usual
-- questions after a move: are there rows enough in the target, is the old table gone, are the references still filled.
SELECT coalesce(owner, '(all)') AS owner, coalesce(sum(source_rows), 0) AS source_rows, coalesce(sum(fan_out_copies), 0) AS fan_out_copies,
       coalesce(sum(inserted), 0) AS inserted, coalesce(sum(already_present), 0) AS already_present, coalesce(sum(adopted), 0) AS adopted,
       coalesce(sum(conflicts), 0) AS conflicts, coalesce(sum(rejected), 0) AS rejected,
       coalesce(sum(source_rows + fan_out_copies), 0) AS began,
       coalesce(sum(inserted + already_present + adopted + conflicts + rejected), 0) AS ended,
       {settled} OR owner IS NOT NULL OR (SELECT count(*) FROM {target})
           >= (SELECT count(*) FROM pipelines.id_map m WHERE m.move = {move} AND m.disposition <> 'conflict')
           AS target_count_suffices,
       owner IS NOT NULL OR NOT {retired} OR to_regclass(quote_ident({old_schema}) || '.' || quote_ident({old_table})) IS NULL
           AS old_name_is_free,
       {settled} OR NOT {switched} OR owner IS NOT NULL OR NOT EXISTS (
           SELECT FROM pipelines.reference_change c
           JOIN ({references}) r USING (table_name, row_key, column_name)
           WHERE c.move = {move} AND r.value IS NULL) AS references_are_filled
FROM (
    SELECT coalesce(p.owner_id::text, '(no owner)') AS owner, 1 AS source_rows, 0 AS fan_out_copies, 0 AS inserted,
           0 AS already_present, 0 AS adopted, 0 AS conflicts, 0 AS rejected
    FROM {source} s LEFT JOIN (
        SELECT source_id, owner_id FROM pipelines.id_map WHERE move = {move} AND owner_rule <> 'copy'
        UNION ALL
        SELECT source_id, owner_id FROM pipelines.rejected WHERE move = {move} AND owner_rule <> 'copy'
    ) p ON p.source_id = s.{source_key}::text COLLATE "C"
    WHERE NOT {moving} OR p.source_id IS NOT NULL
    UNION ALL
    SELECT m.owner_id::text, 0, (m.owner_rule = 'copy')::int,
           (m.disposition = 'inserted' AND (t.{target_key} IS NOT NULL OR {settled}))::int,
           (m.disposition = 'already_present' AND (t.{target_key} IS NOT NULL OR {settled}))::int,
           (m.disposition = 'adopted' AND (t.{target_key} IS NOT NULL OR {settled}))::int,
           (m.disposition = 'conflict')::int, 0
    FROM pipelines.id_map m
    LEFT JOIN {target} t ON t.{target_key} = m.target_id
    LEFT JOIN {source} s ON {moving} AND s.{source_key}::text COLLATE "C" = m.source_id
    WHERE m.move = {move} AND (NOT {moving} OR s.{source_key} IS NOT NULL)
    UNION ALL
    SELECT coalesce(r.owner_id::text, '(no owner)'), 0, (r.owner_rule IS NOT DISTINCT FROM 'copy')::int, 0, 0, 0, 0, 1
    FROM pipelines.rejected r
    LEFT JOIN {source} s ON {moving} AND s.{source_key}::text COLLATE "C" = r.source_id
    WHERE r.move = {move} AND (NOT {moving} OR s.{source_key} IS NOT NULL)
) line GROUP BY GROUPING SETS ((owner), ())
