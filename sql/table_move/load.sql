-- name: stage
-- What a batch writes, before it writes.
CREATE TEMP TABLE staged ON COMMIT DROP AS
SELECT m.source_id, m.owner_id, m.owner_rule, m.target_id, m.source_hash, m.target_hash, {target_columns_of_t}
FROM pipelines.id_map m CROSS JOIN {target} t WITH NO DATA;

-- name: stage_rejected
-- The same of the rejected rows.
CREATE TEMP TABLE staged_rejected (source_id text, owner_id uuid, owner_rule text, reason text, detail text)
ON COMMIT DROP;

-- name: copy_rejected
-- Into that table.
COPY pg_temp.staged_rejected (source_id, owner_id, owner_rule, reason, detail) FROM STDIN (FORMAT csv)

-- name: map_new
-- The fast way into the map.
INSERT INTO pipelines.id_map (source_id, owner_id, owner_rule, target_id, source_hash, target_hash, move, disposition, run_id)
SELECT source_id, owner_id, owner_rule, target_id, source_hash, target_hash, {move}, 'inserted', %(run_id)s
FROM pg_temp.staged;

-- name: reject
-- Rejected rows, after the ones of an earlier look at the same rows are gone.
INSERT INTO pipelines.rejected (source_id, owner_id, owner_rule, reason, detail, move, run_id)
SELECT source_id, owner_id, owner_rule, reason, detail, {move}, %(run_id)s FROM pg_temp.staged_rejected;

-- name: stage_loaded
-- Which target rows this batch inserted.
CREATE TEMP TABLE loaded (target_id uuid PRIMARY KEY) ON COMMIT DROP;

-- name: copy_staged
-- Into the staging table.
COPY pg_temp.staged (source_id, owner_id, owner_rule, target_id, source_hash, target_hash, {target_columns})
FROM STDIN (FORMAT csv)

-- name: reopen
-- Source rows whose primary owner met another row under its id are decided anew; what this move inserted for their
-- other owners goes, unless somebody edited it, and comes back under the same id where it is still due.
WITH gone AS (
    DELETE FROM pipelines.id_map m WHERE m.move = {move} AND m.source_id IN (
        SELECT u.source_id FROM pipelines.id_map u
        JOIN {source} s ON s.{source_key}::text COLLATE "C" = u.source_id AND u.target_id = {primary_id}
        WHERE u.move = {move} AND u.source_id = ANY (%(source_ids)s)
        AND u.owner_rule <> 'copy' AND u.disposition = 'conflict' AND NOT u.loaded)
    RETURNING m.target_id, m.loaded, m.target_hash
) SELECT t.{target_key}::text FROM gone JOIN {target} t ON t.{target_key} = gone.target_id
WHERE gone.loaded AND {target_hash} = gone.target_hash FOR UPDATE OF t;

-- name: changed
-- Rows of ours whose source changed since, to be updated; a row that somebody edited meanwhile is left as it is.
SELECT t.{target_key}::text FROM pg_temp.staged st
JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = st.source_id AND m.owner_id = st.owner_id
JOIN {target} t ON t.{target_key} = st.target_id
WHERE m.target_id = st.target_id AND m.loaded AND {owner_of_t} = m.owner_id
  AND m.target_hash <> st.target_hash AND {target_hash} = m.target_hash FOR NO KEY UPDATE OF t;

-- name: map_staged
-- The map as it is now: equal rows are inserted (ours), already_present or adopted (not ours); anything else is a
-- conflict, unless somebody has decided that the target's row stays.
INSERT INTO pipelines.id_map (move, source_id, owner_id, target_id, disposition, owner_rule, loaded, kept_target,
                              source_hash, target_hash, run_id)
SELECT {move}, f.source_id, f.owner_id, f.target_id,
       CASE WHEN f.kept THEN 'already_present' WHEN NOT f.equal THEN 'conflict' WHEN f.ours THEN 'inserted'
            WHEN f.was = 'adopted' THEN 'adopted' ELSE 'already_present' END,
       f.owner_rule, f.ours AND NOT f.kept, f.kept, f.source_hash,
       CASE WHEN f.kept THEN f.found ELSE f.target_hash END, %(run_id)s
FROM (
    SELECT st.source_id, st.owner_id, st.target_id, st.owner_rule, st.source_hash, st.target_hash, v.equal, v.found,
           l.target_id IS NOT NULL OR coalesce(m.loaded, false) AS ours, m.disposition AS was,
           NOT v.equal AND {owner_of_t} = st.owner_id
           AND (%(keep_target)s OR coalesce(m.kept_target AND m.target_hash = v.found, false)) AS kept
    FROM pg_temp.staged st
    JOIN {target} t ON t.{target_key} = st.target_id
    CROSS JOIN LATERAL (SELECT {owner_of_t} = st.owner_id AND {target_hash} = st.target_hash AS equal,
                               {target_hash} AS found OFFSET 0) v
    LEFT JOIN pg_temp.loaded l ON l.target_id = st.target_id
    LEFT JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = st.source_id AND m.owner_id = st.owner_id
) f
ON CONFLICT (source_id, move, owner_id) DO UPDATE SET disposition = excluded.disposition, loaded = excluded.loaded,
    kept_target = excluded.kept_target, source_hash = excluded.source_hash, run_id = excluded.run_id,
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
) SELECT target_id::text FROM gone WHERE loaded;
