-- name: source
-- The source as found: one row per row of the old table.
SELECT s.{source_key}::text AS source_id, {source_all_columns} FROM {source} s

-- name: target
-- The target as loaded: one row per source row and owner, with the target row and the source row beside it.
-- settled: the move is done, so that later edits by tenants are information.
SELECT m.source_id, m.owner_id::text AS owner_id, m.target_id::text AS target_id, m.disposition, m.owner_rule,
       {settled} AS settled, t.{target_key} IS NOT NULL AS present, t.{target_owner}::text AS target_owner_id,
       {target_columns_of_t}, {target_hash} = m.target_hash AS as_loaded,
       s.{source_key} IS NOT NULL AS source_present, {source_columns_named},
       {source_hash} = m.source_hash AS source_as_read
FROM pipelines.id_map m
LEFT JOIN {target} t ON t.{target_key} = m.target_id
LEFT JOIN {source} s ON s.{source_key}::text COLLATE "C" = m.source_id
WHERE m.move = {move}

-- name: references
-- The references: one row per filled column of a referencing row. switched: they have been rewired.
SELECT c.table_name, c.row_key, c.column_name, c.owner_id::text AS owner_id, c.value, c.class,
       c.successor_id::text AS successor_id, o.{target_owner}::text AS successor_owner_id,
       {switched} AS switched, {settled} AS settled, {dangling_allowed} AS dangling_allowed
FROM ({classified}) c LEFT JOIN {target} o ON o.{target_key} = c.successor_id
WHERE c.class <> 'null'

-- name: reconciliation
-- The balance: one row per owner, one for rows without an owner, one for the whole.
SELECT coalesce(owner, '(all)') AS owner, coalesce(sum(source_rows), 0) AS source_rows, coalesce(sum(fan_out_copies), 0) AS fan_out_copies,
       coalesce(sum(inserted), 0) AS inserted, coalesce(sum(already_present), 0) AS already_present, coalesce(sum(adopted), 0) AS adopted,
       coalesce(sum(conflicts), 0) AS conflicts, coalesce(sum(rejected), 0) AS rejected
FROM (
    SELECT coalesce(p.owner_id::text, '(no owner)') AS owner, 1 AS source_rows, 0 AS fan_out_copies, 0 AS inserted,
           0 AS already_present, 0 AS adopted, 0 AS conflicts, 0 AS rejected
    FROM {source} s LEFT JOIN (
        SELECT source_id, owner_id FROM pipelines.id_map WHERE move = {move} AND owner_rule <> 'copy'
        UNION ALL
        SELECT source_id, owner_id FROM pipelines.rejected WHERE move = {move} AND owner_rule <> 'copy'
    ) p ON p.source_id = s.{source_key}::text COLLATE "C"
    UNION ALL
    SELECT m.owner_id::text, 0, (m.owner_rule = 'copy')::int,
           (m.disposition = 'inserted' AND (t.{target_key} IS NOT NULL OR {settled}))::int,
           (m.disposition = 'already_present' AND (t.{target_key} IS NOT NULL OR {settled}))::int,
           (m.disposition = 'adopted' AND (t.{target_key} IS NOT NULL OR {settled}))::int,
           (m.disposition = 'conflict')::int, 0
    FROM pipelines.id_map m LEFT JOIN {target} t ON t.{target_key} = m.target_id WHERE m.move = {move}
    UNION ALL
    SELECT coalesce(r.owner_id::text, '(no owner)'), 0, (r.owner_rule IS NOT DISTINCT FROM 'copy')::int, 0, 0, 0, 0, 1
    FROM pipelines.rejected r WHERE r.move = {move}
) line GROUP BY GROUPING SETS ((owner), ())
