-- name: owners
-- How many rows there are, how many somebody refers to, and how many copies other owners will get.
WITH claimed AS MATERIALIZED (
    SELECT value, owner_id FROM ({claims}) c GROUP BY value, owner_id
), known AS (
    SELECT c.value, count(*) AS owners FROM claimed c
    JOIN {source} s ON s.{source_key}::text COLLATE "C" = c.value GROUP BY c.value
)
SELECT (SELECT count(*) FROM {source}), (SELECT count(*) FROM known), (SELECT coalesce(sum(owners - 1), 0) FROM known);

-- name: references
-- The class that each reference would have, counted: a row's primary owner is its most frequent claimant.
WITH claimed AS MATERIALIZED (
    SELECT value, owner_id, sum(uses) AS uses FROM ({claims}) c GROUP BY value, owner_id
), ranked AS MATERIALIZED (
    SELECT value, owner_id, row_number() OVER (PARTITION BY value ORDER BY uses DESC, owner_id) AS rank FROM claimed
)
SELECT CASE WHEN r.value IS NULL THEN 'null'
            WHEN s.{source_key} IS NOT NULL AND p.rank = 1 AND {value_is_uuid} THEN 'already_current'
            WHEN s.{source_key} IS NOT NULL THEN 'to_rewire'
            WHEN t.{target_owner} = r.owner_id THEN 'already_current'
            WHEN t.{target_key} IS NOT NULL THEN 'foreign'
            ELSE 'dangling' END AS class, count(*)
FROM ({references}) r
LEFT JOIN {source} s ON s.{source_key}::text COLLATE "C" = r.value
LEFT JOIN ranked p ON p.value = r.value AND p.owner_id = r.owner_id
LEFT JOIN {target} t ON t.{target_key} = CASE WHEN {value_is_uuid} THEN r.value::uuid END
GROUP BY 1;

-- name: without_owner
-- Some rows that nobody refers to, for the message that asks for a default owner.
SELECT s.{source_key}::text FROM {source} s
WHERE NOT EXISTS (SELECT FROM ({claims}) c WHERE c.value = s.{source_key}::text COLLATE "C") ORDER BY 1 LIMIT 5;

-- name: source_rows
-- The rows of the old table.
SELECT count(*) FROM {source};

-- name: counts
-- What the map says became of the source rows.
SELECT coalesce(sum(n) FILTER (WHERE copy), 0), coalesce(sum(n) FILTER (WHERE what = 'inserted'), 0),
       coalesce(sum(n) FILTER (WHERE what = 'already_present'), 0), coalesce(sum(n) FILTER (WHERE what = 'adopted'), 0),
       coalesce(sum(n) FILTER (WHERE what = 'conflict'), 0), coalesce(sum(n) FILTER (WHERE what = 'rejected'), 0)
FROM (SELECT disposition AS what, owner_rule = 'copy' AS copy, count(*) AS n
      FROM pipelines.id_map WHERE move = {move} GROUP BY 1, 2
      UNION ALL
      SELECT 'rejected', owner_rule IS NOT DISTINCT FROM 'copy', count(*)
      FROM pipelines.rejected WHERE move = {move} GROUP BY 2) ended;

-- name: reference_counts
-- The class of every reference as things stand, counted.
SELECT class, count(*) FROM ({classified}) c GROUP BY class;

-- name: rewired
-- How many references the move has changed so far.
SELECT count(*) FROM (SELECT DISTINCT table_name, row_key, column_name
                      FROM pipelines.reference_change WHERE move = {move}) changed;

-- name: owner_counts
-- Rows per owner and rule, for the report.
SELECT m.owner_id::text, coalesce(o.{owners_label}::text, '(gone)'), m.owner_rule, count(*)
FROM pipelines.id_map m LEFT JOIN {owners} o ON o.{owners_key} = m.owner_id
WHERE m.move = {move} GROUP BY 1, 2, 3 ORDER BY 2, 1, 3;

-- name: not_carried
-- How many rows have something in a column that has no place in the target.
SELECT count(*) FILTER (WHERE s.{column} IS NOT NULL AND s.{column}::text NOT IN ('', '{}')) FROM {source} s;

-- name: copied
-- Source rows in committed batches: of the move, and of one run.
SELECT coalesce(sum(rows), 0)::bigint, coalesce(sum(rows) FILTER (WHERE run_id = %(run_id)s), 0)::bigint
FROM pipelines.batch WHERE move = {move} AND phase = 'copy';
