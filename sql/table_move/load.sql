-- name: copy_target
-- The fast way into the target.
COPY {target} ({target_key}, {target_owner}, {target_columns}) FROM STDIN (FORMAT csv)

-- name: copy_map
-- The fast way into the map.
COPY pipelines.id_map (source_id, owner_id, owner_rule, target_id, source_hash, target_hash, move, disposition, run_id)
FROM STDIN (FORMAT csv)

-- name: copy_rejected
-- Rejected rows, after the ones of an earlier look at the same rows are gone.
COPY pipelines.rejected (source_id, owner_id, owner_rule, reason, detail, move, run_id) FROM STDIN (FORMAT csv)

-- name: stage
-- The slow way: rows that may meet rows.
CREATE TEMP TABLE staged ON COMMIT DROP AS
SELECT m.source_id, m.owner_id, m.owner_rule, m.target_id, m.source_hash, m.target_hash, {target_columns_of_t}
FROM pipelines.id_map m CROSS JOIN {target} t WITH NO DATA;

-- name: stage_loaded
-- Which target rows this batch inserted.
CREATE TEMP TABLE loaded (target_id uuid PRIMARY KEY) ON COMMIT DROP;

-- name: copy_staged
-- Into the staging table.
COPY pg_temp.staged (source_id, owner_id, owner_rule, target_id, source_hash, target_hash, {target_columns})
FROM STDIN (FORMAT csv)

-- name: insert_missing
-- Target rows that are not there yet.
WITH inserted AS (
    INSERT INTO {target} ({target_key}, {target_owner}, {target_columns})
    SELECT st.target_id, st.owner_id, {staged_columns} FROM pg_temp.staged st
    WHERE NOT EXISTS (SELECT FROM {target} t WHERE t.{target_key} = st.target_id)
    ON CONFLICT ({target_key}) DO NOTHING RETURNING {target_key} AS target_id
) INSERT INTO pg_temp.loaded SELECT target_id FROM inserted;

-- name: update_changed
-- Rows of ours whose source changed since; a row that somebody edited meanwhile is left as it is.
UPDATE {target} t SET {target_assignments} FROM pg_temp.staged st
JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = st.source_id AND m.owner_id = st.owner_id
WHERE t.{target_key} = st.target_id AND m.target_id = st.target_id AND m.loaded AND t.{target_owner} = m.owner_id
  AND m.target_hash <> st.target_hash AND {target_hash} = m.target_hash;

-- name: map_staged
-- The map as it is now: equal rows are inserted (ours) or already_present (not ours), anything else is a conflict.
INSERT INTO pipelines.id_map (move, source_id, owner_id, target_id, disposition, owner_rule, loaded, source_hash,
                              target_hash, run_id)
SELECT {move}, st.source_id, st.owner_id, st.target_id,
       CASE WHEN t.{target_owner} IS DISTINCT FROM st.owner_id OR {target_hash} IS DISTINCT FROM st.target_hash
            THEN 'conflict' WHEN l.target_id IS NOT NULL OR m.loaded THEN 'inserted' ELSE 'already_present' END,
       st.owner_rule, l.target_id IS NOT NULL OR coalesce(m.loaded, false), st.source_hash, st.target_hash, %(run_id)s
FROM pg_temp.staged st
LEFT JOIN {target} t ON t.{target_key} = st.target_id
LEFT JOIN pg_temp.loaded l ON l.target_id = st.target_id
LEFT JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = st.source_id AND m.owner_id = st.owner_id
ON CONFLICT (source_id, move, owner_id) DO UPDATE SET disposition = excluded.disposition, loaded = excluded.loaded,
    source_hash = excluded.source_hash, run_id = excluded.run_id,
    target_hash = CASE WHEN excluded.disposition = 'conflict' THEN pipelines.id_map.target_hash
                       ELSE excluded.target_hash END;

-- name: clear_rejected
-- What was said of these source rows before.
DELETE FROM pipelines.rejected r WHERE r.move = {move} AND r.source_id = ANY (%(source_ids)s);

-- name: unload
-- Source rows that can no longer be carried take their rows in the target with them.
WITH gone AS (
    DELETE FROM pipelines.id_map m WHERE m.move = {move} AND m.source_id = ANY (%(source_ids)s)
    RETURNING m.target_id, m.loaded
) DELETE FROM {target} t USING gone WHERE gone.loaded AND t.{target_key} = gone.target_id;
