-- name: all_spellings
-- Source ids that are UUIDs in another spelling than uuid's own: upper case, braces, other hyphens or none.
SELECT k.source_id, k.source_id::uuid AS id FROM (
    SELECT s.{source_key}::text COLLATE "C" AS source_id FROM {source} s
    WHERE octet_length(s.{source_key}::text) BETWEEN 32 AND 41
      AND length(translate(s.{source_key}::text, '{}-', '')) = 32 OFFSET 0
) k
WHERE k.source_id ~ ('^(' || {groups} || '|[{]' || {groups} || '[}])$')
  AND CASE WHEN k.source_id ~ ('^(' || {groups} || '|[{]' || {groups} || '[}])$')
           THEN k.source_id::uuid::text <> k.source_id END

-- name: groups
-- Groups of four digits, with or without a hyphen after each but the last: what uuid takes.
'([0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]-?)*[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]'

-- name: spellings
-- The same, one per UUID: where two mean the same (the plan refuses that), the smaller one.
SELECT DISTINCT ON (a.id) a.source_id, a.id FROM ({all_spellings}) a ORDER BY a.id, a.source_id

-- name: of_text
-- The references of a text column.
    SELECT {table_name}::text AS table_name, r.{key}::text AS row_key, {column_name}::text AS column_name,
           {owner} AS owner_id, r.{column}::text COLLATE "C" AS value,
           CASE WHEN r.{column}::text LIKE '________-____-____-____-____________'
                 AND translate(r.{column}::text, '0123456789abcdef', '') = '----' THEN r.{column}::text::uuid END AS id
    FROM {table} r

-- name: of_uuid
-- The references of a uuid column, which match a source id in any spelling.
    SELECT {table_name}::text AS table_name, r.{key}::text AS row_key, {column_name}::text AS column_name,
           {owner} AS owner_id, coalesce(a.source_id, r.{column}::text COLLATE "C") AS value, r.{column} AS id
    FROM {table} r LEFT JOIN ({spellings}) a ON a.id = r.{column}

-- name: none
-- A move that nothing refers to.
    SELECT NULL::text AS table_name, NULL::text AS row_key, NULL::text AS column_name, NULL::uuid AS owner_id,
           NULL::text COLLATE "C" AS value, NULL::uuid AS id WHERE false

-- name: no_claims
-- The same of the counts.
    SELECT NULL::text COLLATE "C" AS value, NULL::uuid AS owner_id, 0::bigint AS uses WHERE false

-- name: claims_of_text
-- How often each owner refers to each value in a text column.
    SELECT r.{column}::text COLLATE "C" AS value, {owner} AS owner_id, count(*) AS uses FROM {table} r
    WHERE r.{column} IS NOT NULL AND {owner} IS NOT NULL GROUP BY 1, 2

-- name: claims_of_uuid
-- The same of a uuid column.
    SELECT coalesce(a.source_id, c.id::text COLLATE "C") AS value, c.owner_id, c.uses FROM (
        SELECT r.{column} AS id, {owner} AS owner_id, count(*) AS uses FROM {table} r
        WHERE r.{column} IS NOT NULL AND {owner} IS NOT NULL GROUP BY 1, 2
    ) c LEFT JOIN ({spellings}) a ON a.id = c.id

-- name: classified
-- Every reference with its class, first match; successor_id is what it has to become.
SELECT r.table_name, r.row_key, r.column_name, r.owner_id, r.value,
       CASE WHEN r.value IS NULL THEN 'null'
            WHEN m.target_id IS DISTINCT FROM r.id AND m.target_id IS NOT NULL THEN 'to_rewire'
            WHEN m.target_id IS NOT NULL OR {owner_of_t} = r.owner_id THEN 'already_current'
            WHEN t.{target_key} IS NOT NULL THEN 'foreign'
            ELSE 'dangling' END AS class,
       m.target_id AS successor_id
FROM ({references}) r
LEFT JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = r.value AND m.owner_id = r.owner_id
LEFT JOIN {target} t ON t.{target_key} = CASE WHEN m.target_id IS NULL THEN r.id END

-- name: late
-- How many references still hold an old value that the map knows.
SELECT count(*) FROM ({references}) r
JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = r.value AND m.owner_id = r.owner_id
WHERE m.target_id IS DISTINCT FROM r.id;

-- name: plan_changes
-- The pre-image and the new value of every reference that has to change.
INSERT INTO pipelines.reference_change (move, table_name, row_key, column_name, old_value, new_value, run_id)
SELECT {move}, r.table_name, r.row_key, r.column_name, r.value, m.target_id::text, %(run_id)s FROM ({references}) r
JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = r.value AND m.owner_id = r.owner_id
WHERE m.target_id IS DISTINCT FROM r.id;

-- name: mark
-- The newest change so far: what comes after it belongs to this transaction.
SELECT coalesce(max(change_id), 0) FROM pipelines.reference_change WHERE move = {move};

-- name: lock_rows
-- Foreign-key checks of other tables pass; whoever holds such a row makes us give up, not wait.
SELECT count(*) FROM (
    SELECT FROM {table} r WHERE r.{key}::text IN (
        SELECT c.row_key FROM pipelines.reference_change c
        WHERE c.move = {move} AND c.change_id > %(mark)s AND c.table_name = {table_name})
    FOR NO KEY UPDATE NOWAIT
) locked;

-- name: forget_overtaken
-- Changes whose reference somebody else changed before its row was locked.
DELETE FROM pipelines.reference_change c WHERE c.move = {move} AND c.change_id > %(mark)s AND NOT EXISTS (
    SELECT FROM ({references}) r WHERE r.table_name = c.table_name AND r.row_key = c.row_key
      AND r.column_name = c.column_name AND r.value = c.old_value);

-- name: apply_changes
-- All columns of a row in one update.
UPDATE {table} r SET {assignments} FROM (
    SELECT c.row_key, {new_values} FROM pipelines.reference_change c
    WHERE c.move = {move} AND c.change_id > %(mark)s AND c.table_name = {table_name} GROUP BY c.row_key
) n WHERE r.{key}::text = n.row_key;

-- name: unapplied
-- A plain count that shares nothing with the suites: changes whose reference does not hold the new value.
SELECT count(*) FROM pipelines.reference_change c
LEFT JOIN ({references}) r
       ON r.table_name = c.table_name AND r.row_key = c.row_key AND r.column_name = c.column_name
WHERE c.move = {move} AND c.change_id > %(mark)s AND r.id IS DISTINCT FROM c.new_value::uuid;

-- name: without_home
-- Changed references whose new value is no target row of the same owner.
SELECT count(*) FROM pipelines.reference_change c
JOIN ({references}) r ON r.table_name = c.table_name AND r.row_key = c.row_key AND r.column_name = c.column_name
LEFT JOIN {target} t ON t.{target_key} = c.new_value::uuid AND {owner_of_t} = r.owner_id
WHERE c.move = {move} AND c.change_id > %(mark)s AND t.{target_key} IS NULL;
