-- name: value_is_uuid
-- Whether a reference holds the canonical text of a UUID.
(r.value LIKE '________-____-____-____-____________' AND translate(r.value, '0123456789abcdef', '') = '----')

-- name: classified
-- Every reference with its class, first match; successor_id is what it has to become.
SELECT r.table_name, r.row_key, r.column_name, r.owner_id, r.value,
       CASE WHEN r.value IS NULL THEN 'null'
            WHEN m.target_id::text <> r.value THEN 'to_rewire'
            WHEN m.target_id IS NOT NULL OR t.{target_owner} = r.owner_id THEN 'already_current'
            WHEN t.{target_key} IS NOT NULL THEN 'foreign'
            ELSE 'dangling' END AS class,
       m.target_id AS successor_id
FROM ({references}) r
LEFT JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = r.value AND m.owner_id = r.owner_id
LEFT JOIN {target} t
       ON t.{target_key} = CASE WHEN m.target_id IS NULL AND {value_is_uuid} THEN r.value::uuid END

-- name: late
-- How many references still hold an old value that the map knows.
SELECT count(*) FROM ({references}) r
JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = r.value AND m.owner_id = r.owner_id
WHERE m.target_id::text <> r.value;

-- name: plan_changes
-- The pre-image and the new value of every reference that has to change.
INSERT INTO pipelines.reference_change (move, table_name, row_key, column_name, old_value, new_value, run_id)
SELECT {move}, r.table_name, r.row_key, r.column_name, r.value, m.target_id::text, %(run_id)s FROM ({references}) r
JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = r.value AND m.owner_id = r.owner_id
WHERE m.target_id::text <> r.value;

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
WHERE c.move = {move} AND c.change_id > %(mark)s AND r.value IS DISTINCT FROM c.new_value;

-- name: without_home
-- Changed references whose new value is no target row of the same owner.
SELECT count(*) FROM pipelines.reference_change c
JOIN ({references}) r ON r.table_name = c.table_name AND r.row_key = c.row_key AND r.column_name = c.column_name
LEFT JOIN {target} t ON t.{target_key} = c.new_value::uuid AND t.{target_owner} = r.owner_id
WHERE c.move = {move} AND c.change_id > %(mark)s AND t.{target_key} IS NULL;
