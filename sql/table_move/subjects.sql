-- name: source
-- The source as found: one row per row of the old table, with the verdicts that the move declares. What a suite does
-- not ask for is not computed.
SELECT s.{source_key}::text COLLATE "C" AS source_id,
       CASE WHEN octet_length(s.{source_key}::text) BETWEEN 32 AND 41
             AND length(translate(s.{source_key}::text COLLATE "C", '{}-', '')) = 32
             AND s.{source_key}::text COLLATE "C" ~ ('^(' || {groups} || '|[{]' || {groups} || '[}])$')
            THEN s.{source_key}::text::uuid::text = s.{source_key}::text COLLATE "C" ELSE true END AS key_is_canonical,
       d.digest IS NULL AS content_is_alone,
       {verdicts}{source_all_columns}
FROM {source} s
LEFT JOIN (SELECT {carried_of_s} AS digest FROM {source} s GROUP BY 1 HAVING count(*) > 1) d
       ON d.digest = {carried_of_s}
WHERE {s_in_question}

-- name: target
-- The target as loaded: one row per source row and owner. Every verdict is true or false, never unknown, so that one
-- pass counts them all. as_loaded is about rows that this move inserted, as_it_was about those that were there before;
-- a conflict is in the balance.
-- content_is_alone: the owner has no other row, unknown to the map, with the same content. switched: the new table is in
-- charge, so that edits and deletions there are information. Joins where sub-selects would be shorter: several workers share them.
SELECT m.source_id, m.owner_id::text AS owner_id, m.target_id::text AS target_id, m.disposition, m.owner_rule,
       {switched} OR t.{target_key} IS NOT NULL AS present,
       {switched} OR t.{target_key} IS NULL OR {owner_of_t} = m.owner_id AS owner_is_right,
       {switched} OR t.{target_key} IS NULL OR NOT m.loaded OR m.disposition = 'conflict' OR ({target_hash} = m.target_hash) IS TRUE AS as_loaded,
       {switched} OR t.{target_key} IS NULL OR m.loaded OR m.disposition = 'conflict' OR ({target_hash} = m.target_hash) IS TRUE AS as_it_was,
       {switched} OR ({source_hash} = m.source_hash) IS TRUE AS source_as_read,
       NOT {switched} OR ({target_hash} = m.target_hash) IS TRUE AS unchanged_since,
       {switched} OR t.{target_key} IS NULL OR d.digest IS NULL AS content_is_alone,
       {switched} OR CASE m.owner_rule
           WHEN 'owners_file' THEN a.owner_id = m.owner_id
           WHEN 'default' THEN v.default_owner = m.owner_id
           WHEN 'present' THEN true
           ELSE c.source_id IS NOT NULL OR NOT {has_claims} END IS TRUE AS owner_follows_the_rules,
       {carried}{target_columns_unswitched}
FROM pipelines.id_map m
JOIN pipelines.move v ON v.move = m.move
LEFT JOIN {target} t ON t.{target_key} = m.target_id
LEFT JOIN {source} s ON s.{source_key}::text COLLATE "C" = m.source_id
LEFT JOIN pipelines.claim c ON c.move = {move} AND c.source_id = m.source_id AND c.owner_id = m.owner_id
LEFT JOIN pipelines.assigned_owner a ON a.move = {move} AND a.source_id = m.source_id
LEFT JOIN (
    SELECT DISTINCT {owner_of_o} AS owner_id, {carried_of_o} AS digest FROM {target} o
    LEFT JOIN pipelines.id_map k ON k.target_id = o.{target_key} AND k.move = {move} WHERE k.move IS NULL
) d ON d.owner_id = {owner_of_t} AND d.digest = {carried_of_t}
WHERE m.move = {move} AND {m_in_question}

-- name: references
-- The references: one row per filled column of a referencing row, with a verdict on it.
-- switched: they have been rewired, and what tenants delete or give away in the new table is their own affair. following:
-- old ids that are written late will follow. settled: the move is done.
SELECT c.table_name, c.row_key, c.column_name, c.owner_id::text AS owner_id, c.value,
       c.successor_id::text AS successor_id,
       CASE WHEN c.class = 'dangling' AND ({dangling_allowed} OR {switched}) THEN 'dangling_allowed'
            WHEN c.class = 'not_copied' AND {settled} THEN 'written_since'
            WHEN c.class = 'to_rewire' AND {switched} THEN CASE
                WHEN c.home_id IS NULL THEN 'dangling_allowed'
                WHEN c.home_owner_id <> c.owner_id THEN 'foreign'
                WHEN {following} THEN 'following'
                ELSE 'left_behind' END
            WHEN c.class = 'to_rewire' AND c.home_id IS NULL THEN 'without_successor'
            WHEN c.class = 'to_rewire' AND c.home_owner_id <> c.owner_id THEN 'successor_of_another_owner'
            ELSE c.class END AS verdict
FROM ({classified}) c
WHERE c.value IS NOT NULL AND {c_in_question}

-- name: is_not_in_flight
-- References that find no row of their own, because the old row they point to moves and is settled by the switch: its
-- version was another one when the copy came by.
(c.class NOT IN ('dangling', 'not_copied', 'foreign')
 OR c.value NOT IN (SELECT s.{source_key}::text COLLATE "C" FROM {source} s WHERE {s_is_new}))

-- name: reconciliation
-- The balance: one row per owner, one for rows without an owner, one for the whole, which also answers the usual
-- questions after a move: are there rows enough in the target, is the old table gone, are the references still filled.
-- switched: the new table is in charge; rows that left it since have ended there all the same. deleted_since: how many.
SELECT coalesce(owner, '(all)') AS owner, coalesce(sum(source_rows), 0) AS source_rows, coalesce(sum(fan_out_copies), 0) AS fan_out_copies,
       coalesce(sum(inserted), 0) AS inserted, coalesce(sum(already_present), 0) AS already_present, coalesce(sum(adopted), 0) AS adopted,
       -- Each of these is in the line of its owner; the line of the whole would count it twice.
       CASE WHEN owner IS NULL THEN 0 ELSE coalesce(sum(conflicts), 0) END AS conflicts,
       CASE WHEN owner IS NULL THEN 0 ELSE coalesce(sum(rejected), 0) END AS rejected,
       coalesce(sum(source_rows + fan_out_copies), 0) AS began,
       coalesce(sum(inserted + already_present + adopted + conflicts + rejected), 0) AS ended,
       CASE WHEN owner IS NULL THEN 0 ELSE coalesce(sum(deleted_since), 0) END AS deleted_since,
       {switched} OR owner IS NOT NULL OR (SELECT count(*) FROM {target})
           >= (SELECT count(*) FROM pipelines.id_map m WHERE m.move = {move} AND m.disposition <> 'conflict')
           AS target_count_suffices,
       owner IS NOT NULL OR NOT {retired} OR to_regclass(quote_ident({old_schema}) || '.' || quote_ident({old_table})) IS NULL
           AS old_name_is_free,
       {settled} OR NOT {switched} OR owner IS NOT NULL OR NOT EXISTS (
           SELECT FROM pipelines.reference_change c
           JOIN ({references}) r USING (table_name, row_key, column_name)
           WHERE c.move = {move} AND r.value IS NULL) AS references_are_filled
FROM (
    SELECT coalesce(p.owner_id::text, '(no owner)') AS owner, count(*) AS source_rows, 0 AS fan_out_copies,
           0 AS inserted, 0 AS already_present, 0 AS adopted, 0 AS conflicts, 0 AS rejected,
           0 AS deleted_since
    FROM {source} s LEFT JOIN (
        SELECT source_id, owner_id FROM pipelines.id_map WHERE move = {move} AND owner_rule <> 'copy'
        UNION ALL
        SELECT source_id, owner_id FROM pipelines.rejected WHERE move = {move} AND owner_rule <> 'copy'
    ) p ON p.source_id = s.{source_key}::text COLLATE "C"
    WHERE {s_in_question} GROUP BY 1
    UNION ALL
    SELECT m.owner_id::text, 0, count(*) FILTER (WHERE m.owner_rule = 'copy'),
           count(*) FILTER (WHERE m.disposition = 'inserted' AND (t.{target_key} IS NOT NULL OR {switched})),
           count(*) FILTER (WHERE m.disposition = 'already_present' AND (t.{target_key} IS NOT NULL OR {switched})),
           count(*) FILTER (WHERE m.disposition = 'adopted' AND (t.{target_key} IS NOT NULL OR {switched})),
           count(*) FILTER (WHERE m.disposition = 'conflict'), 0,
           count(*) FILTER (WHERE {switched} AND t.{target_key} IS NULL)
    FROM pipelines.id_map m
    LEFT JOIN {target} t ON t.{target_key} = m.target_id
    LEFT JOIN {source} s ON {source_matters} AND s.{source_key}::text COLLATE "C" = m.source_id
    WHERE m.move = {move} AND {m_in_question} GROUP BY 1
    UNION ALL
    SELECT coalesce(r.owner_id::text, '(no owner)'), 0, count(*) FILTER (WHERE r.owner_rule IS NOT DISTINCT FROM 'copy'),
           0, 0, 0, 0, count(*), 0
    FROM pipelines.rejected r
    LEFT JOIN {source} s ON {source_matters} AND s.{source_key}::text COLLATE "C" = r.source_id
    WHERE r.move = {move} AND {r_in_question} GROUP BY 1
) line GROUP BY GROUPING SETS ((owner), ())

-- name: columns
-- The names of a subject's columns, and no row.
SELECT * FROM ({subject}) q LIMIT 0;

-- name: forget_kept
-- What an earlier question has left.
DROP TABLE IF EXISTS {kept};

-- name: make_kept
-- A table of the session for what its suite asks of a subject. Nothing is read yet.
CREATE TEMPORARY TABLE {kept} AS SELECT {columns} FROM ({subject}) q WITH NO DATA;

-- name: keep
-- The subject, read once. OFFSET 0 keeps it whole: pulled up, its fingerprints would be computed for every mention.
INSERT INTO {kept} SELECT {columns} FROM ({subject} OFFSET 0) q;
