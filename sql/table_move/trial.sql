-- name: choose
-- A handful of source rows that differ in what may be refused: the longest and the shortest, the longest id and the oddest,
-- ids that are kept and ids that are made, rows that are referred to by each column, and one that two owners refer to. The
-- longest is always among them, the others as far as they are small together.
WITH source AS MATERIALIZED (
    SELECT s.{source_key}::text COLLATE "C" AS source_id, {source_bytes} AS bytes, {is_canonical} AS keeps_id FROM {source} s
), reference AS MATERIALIZED (
    SELECT r.table_name, r.column_name, r.owner_id, r.value FROM ({references}) r JOIN source s ON s.source_id = r.value
), chosen (source_id) AS (
    (SELECT source_id FROM source ORDER BY bytes DESC, 1 LIMIT 1)
    UNION (SELECT source_id FROM source ORDER BY bytes, 1 LIMIT 1)
    UNION (SELECT source_id FROM source ORDER BY octet_length(source_id) DESC, 1 LIMIT 1)
    UNION (SELECT source_id FROM source WHERE source_id ~ '[^a-zA-Z0-9_-]' ORDER BY 1 LIMIT 1)
    UNION (SELECT source_id FROM source WHERE keeps_id ORDER BY 1 LIMIT 2)
    UNION (SELECT source_id FROM source WHERE NOT keeps_id ORDER BY 1 LIMIT 2)
    UNION (SELECT min(value) FROM reference WHERE owner_id IS NOT NULL GROUP BY table_name, column_name)
    UNION (SELECT value FROM reference GROUP BY value HAVING count(DISTINCT owner_id) > 1 ORDER BY value LIMIT 1)
)
SELECT sized.source_id FROM (
    SELECT s.source_id, row_number() OVER (ORDER BY s.bytes DESC, s.source_id) AS place,
           sum(s.bytes) OVER (ORDER BY s.bytes, s.source_id) AS together
    FROM source s JOIN chosen c ON c.source_id = s.source_id
) sized WHERE sized.place = 1 OR sized.together <= %(bytes)s;

-- name: assigned
-- The owners that a person has named for them in an earlier call.
INSERT INTO pipelines.assigned_owner (move, source_id, owner_id)
SELECT {move}, a.source_id, a.owner_id FROM pipelines.assigned_owner a
WHERE a.move = %(of)s AND a.source_id = ANY (%(source_ids)s::text[]);

-- name: touch
-- The rows whose claims are counted.
INSERT INTO pipelines.touched (move, source_id) SELECT {move}, unnest(%(source_ids)s::text[]) ON CONFLICT DO NOTHING;

-- name: candidates
-- Rows that refer to what was tried, at most three for each column.
SELECT DISTINCT c.table_name, c.row_key FROM (
    SELECT r.table_name, r.row_key, row_number() OVER (PARTITION BY r.table_name, r.column_name ORDER BY r.row_key) AS n
    FROM ({references}) r JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = r.value AND m.owner_id = r.owner_id
    WHERE m.target_id::text COLLATE "C" <> r.written
) c WHERE c.n <= 3 ORDER BY 1, 2;

-- name: make_free
-- For the keys of those of them that nobody holds.
CREATE TEMP TABLE free (row_key text COLLATE "C") ON COMMIT DROP;

-- name: lock_free
-- They are locked; nobody is waited for.
WITH locked AS (
    SELECT r.{key}::text COLLATE "C" AS row_key FROM {table} r
    WHERE r.{key}::text COLLATE "C" = ANY (%(keys)s::text[]) FOR NO KEY UPDATE SKIP LOCKED
) INSERT INTO pg_temp.free SELECT row_key FROM locked;

-- name: chosen
-- Only references in these rows of a table.
(r.table_name = {table_name} AND r.row_key IN (SELECT f.row_key FROM pg_temp.free f))

-- name: table_like
-- What stands in for the old table where a lock on it would make its readers wait.
CREATE TABLE {table} (LIKE {source} INCLUDING ALL);
