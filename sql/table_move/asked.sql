-- name: meddlers
-- What of the installation stands between a statement and the rows of its table, as far as it fires in this session.
SELECT format('trigger %%I (%%s, %%s)', t.tgname, CASE WHEN t.tgtype & 2 <> 0 THEN 'BEFORE' ELSE 'AFTER' END,
              t.tgfoid::regproc)
FROM pg_trigger t WHERE t.tgrelid = %(table)s::regclass AND NOT t.tgisinternal AND t.tgtype & %(bit)s <> 0
  AND t.tgenabled IN ('A', CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END)
UNION ALL
SELECT format('rule %%I', w.rulename) FROM pg_rewrite w
WHERE w.ev_class = %(table)s::regclass AND w.ev_type = %(rule)s ORDER BY 1;

-- name: rows_added
-- Rows that this transaction has inserted into a table, by whatever statement; 0 where the server does not count.
SELECT pg_stat_get_xact_tuples_inserted(%(table)s::regclass);

-- name: inserted
-- Rows of a batch that do not stand in the target as the map says.
SELECT m.source_id, CASE WHEN t.{target_key} IS NULL THEN 'missing' ELSE 'changed' END
FROM pipelines.id_map m LEFT JOIN {target} t ON t.{target_key} = m.target_id
WHERE m.move = {move} AND m.target_id = ANY (%(target_ids)s::uuid[])
  AND (t.{target_key} IS NULL OR {owner_of_t} IS DISTINCT FROM m.owner_id OR {target_hash} IS DISTINCT FROM m.target_hash);

-- name: merged
-- The same on the careful way: every staged row stands in the target now, and those that were inserted or updated hold
-- what is staged.
SELECT st.source_id, CASE WHEN t.{target_key} IS NULL THEN 'missing' ELSE 'changed' END
FROM pg_temp.staged st LEFT JOIN {target} t ON t.{target_key} = st.target_id
LEFT JOIN pg_temp.loaded l ON l.target_id = st.target_id
WHERE t.{target_key} IS NULL
   OR (l.target_id IS NOT NULL OR st.target_id = ANY (%(changed)s::uuid[]))
      AND ({owner_of_t} IS DISTINCT FROM st.owner_id OR {target_hash} IS DISTINCT FROM st.target_hash);

-- name: deleted
-- Target rows that are still there.
SELECT t.{target_key}::text, 'still_there' FROM {target} t WHERE t.{target_key} = ANY (%(target_ids)s::uuid[]);

-- name: expect
-- What the referencing rows have to hold after an update, in every column that the move follows and in that of their
-- owner. Whoever holds such a row makes us give up.
CREATE TEMP TABLE expected ON COMMIT DROP AS
SELECT r.{key}::text COLLATE "C" AS row_key, {expected} FROM {table} r JOIN ({planned}) n ON n.row_key = r.{key}::text COLLATE "C"
WHERE {asked} FOR NO KEY UPDATE OF r;

-- name: unexpected
-- Those that hold something else.
SELECT e.row_key, CASE WHEN r.{key} IS NULL THEN 'missing' ELSE 'changed' END
FROM pg_temp.expected e LEFT JOIN {table} r ON r.{key}::text COLLATE "C" = e.row_key
WHERE r.{key} IS NULL OR {differs};

-- name: edited
-- Old rows that do not hold the edit that was carried back into them.
SELECT e.source_id, CASE WHEN s.{source_key} IS NULL THEN 'missing' ELSE 'changed' END
FROM pg_temp.edit e LEFT JOIN {source} s ON s.{source_key}::text COLLATE "C" = e.source_id
WHERE s.{source_key} IS NULL OR {differs};

-- name: deleted_old
-- Old rows that are still there.
SELECT s.{source_key}::text, 'still_there' FROM {source} s
WHERE s.{source_key}::text COLLATE "C" = ANY (%(source_ids)s);
