-- name: lock
-- The first statement of the way back: from here readers go on and writers wait. One fixed order.
LOCK TABLE {locked} IN SHARE ROW EXCLUSIVE MODE;

-- name: thaw
-- The old table takes writes again. Unlike DROP TRIGGER, this makes no reader wait.
ALTER TABLE {source} DISABLE TRIGGER pipelines_frozen;

-- name: has_freeze
-- Whether the trigger of the freeze is still there, enabled or not.
SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = %(oid)s::oid AND tgname = 'pipelines_frozen');

-- name: drop_freeze
-- The last trace of the freeze.
DROP TRIGGER IF EXISTS pipelines_frozen ON {source};

-- name: defaults
-- The columns of a table with the text of their defaults, and whether the database computes them itself.
SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(pg_get_expr(d.adbin, d.adrelid), t.typdefault),
       a.attgenerated <> '' OR a.attidentity <> ''
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %(oid)s::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;

-- name: is_uuid
-- Whether an old id is a UUID, in whatever spelling.
(octet_length(m.source_id) BETWEEN 32 AND 41 AND length(translate(m.source_id, '{}-', '')) = 32
 AND m.source_id ~ ('^(' || {groups} || '|[{]' || {groups} || '[}])$'))

-- name: as_uuid
-- An old id as a UUID, where it is one.
CASE WHEN {is_uuid} THEN m.source_id::uuid END

-- name: back
-- Every reference that has to change: what it holds, what it held or would have held in the old world, whether that fits
-- its column. switched: references of the new world are in force, also those to rows that were there before.
SELECT r.table_name, r.row_key, r.column_name, r.value, m.source_id AS old_value,
       CASE WHEN k.is_uuid THEN {is_uuid} AND (NOT k.enforced OR EXISTS (
                SELECT FROM {target} t WHERE t.{target_key} = {as_uuid}))
            ELSE k.characters IS NULL OR length(m.source_id) <= k.characters END AS fits
FROM ({references}) r
JOIN pipelines.id_map m ON m.move = {move} AND m.target_id::text COLLATE "C" = r.written
JOIN ({columns}) k ON k.table_name = r.table_name AND k.column_name = r.column_name
LEFT JOIN pipelines.kept_reference f ON f.move = {move} AND f.table_name = r.table_name AND f.row_key = r.row_key
      AND f.column_name = r.column_name AND f.value = r.value
WHERE m.source_id <> r.value AND (m.loaded OR {switched} AND f.move IS NULL)

-- name: columns
-- The referencing columns, with what they take.
SELECT k.table_name, k.column_name, k.is_uuid, k.characters, k.enforced
FROM unnest({tables}::text[], {names}::text[], {uuids}::bool[], {limits}::int[], {keys}::bool[])
     AS k (table_name, column_name, is_uuid, characters, enforced)

-- name: count_back
-- How many references have to change.
SELECT count(*) FROM ({back}) b WHERE b.fits;

-- name: unfit_references
-- References whose old value their column cannot take.
SELECT b.table_name || '/' || b.row_key || '/' || b.column_name FROM ({back}) b WHERE NOT b.fits ORDER BY 1;

-- name: note_back
-- The references that change now.
CREATE TEMP TABLE back ON COMMIT DROP AS SELECT * FROM ({back}) b WHERE b.fits;

-- name: lock_rows
-- Foreign-key checks of other tables pass; whoever holds such a row makes us give up, not wait.
SELECT count(*) FROM (
    SELECT FROM {table} r WHERE r.{key}::text COLLATE "C" IN (SELECT b.row_key FROM pg_temp.back b WHERE b.table_name = {table_name})
    FOR NO KEY UPDATE NOWAIT
) locked;

-- name: planned_back
-- What changes in a table, a line per row: its key, and for each column the value that comes back.
SELECT b.row_key, {old_values} FROM pg_temp.back b WHERE b.table_name = {table_name} GROUP BY b.row_key

-- name: unapplied
-- A plain count on the result: references that do not hold their old value.
SELECT count(*) FROM pg_temp.back b
LEFT JOIN ({references}) r
       ON r.table_name = b.table_name AND r.row_key = b.row_key AND r.column_name = b.column_name
WHERE r.value IS DISTINCT FROM b.old_value;

-- name: cannot_hold
-- Columns that are uuid although the move changed old ids in them that are no UUIDs, or a foreign key to the old table
-- left them: something has given them this type since.
SELECT DISTINCT k.table_name, k.column_name FROM ({columns}) k
WHERE k.is_uuid AND (
    EXISTS (SELECT FROM (SELECT c.old_value AS source_id, c.* FROM pipelines.reference_change c) m
            WHERE m.move = {move} AND m.table_name = k.table_name AND m.column_name = k.column_name AND NOT {is_uuid})
    OR EXISTS (SELECT FROM pipelines.foreign_key f WHERE f.move = {move} AND f.table_name = k.table_name
               AND starts_with(f.definition, 'FOREIGN KEY (' || quote_ident(k.column_name) || ') '))
       AND {source_key_is_text}
) ORDER BY 1, 2;

-- name: gone_columns
-- Columns in which the move has changed references and which are not there under that name, unless what it wrote stands in
-- another column that it follows.
WITH gone AS MATERIALIZED (
    SELECT DISTINCT c.table_name, c.column_name FROM pipelines.reference_change c
    WHERE c.move = {move} AND NOT EXISTS (
        SELECT FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace JOIN pg_attribute a ON a.attrelid = t.oid
        WHERE n.nspname = {schema} AND t.relname = c.table_name AND a.attname = c.column_name AND NOT a.attisdropped)
), found AS (
    SELECT DISTINCT c.table_name, c.column_name FROM gone g JOIN pipelines.reference_change c USING (table_name, column_name)
    JOIN ({references}) r ON r.table_name = c.table_name AND r.row_key = c.row_key AND r.written = c.new_value
    WHERE c.move = {move} AND NOT EXISTS (SELECT FROM pipelines.reference_change o WHERE o.move = {move}
                                          AND o.table_name = r.table_name AND o.column_name = r.column_name)
)
SELECT g.table_name || '.' || g.column_name FROM gone g LEFT JOIN found f USING (table_name, column_name)
WHERE f.column_name IS NULL ORDER BY 1;

-- name: changed_rows
-- Rows of the map whose target row is not as it was loaded or found: edited; of another owner; with something in columns
-- that the move does not write.
SELECT m.source_id, m.target_id::text, m.owner_rule <> 'copy', m.loaded, {target_hash} <> m.target_hash,
       {owner_of_t} <> m.owner_id, {filled}
FROM pipelines.id_map m JOIN {target} t ON t.{target_key} = m.target_id
WHERE m.move = {move} AND (m.loaded OR %(switched)s)
  AND ({target_hash} <> m.target_hash OR m.loaded AND ({owner_of_t} <> m.owner_id OR {filled})) ORDER BY 1, 2;

-- name: deleted_rows
-- Old rows whose row in the target is gone although its owner is there: whether another row of theirs lives, and whether
-- something will refer to the old row.
SELECT m.source_id, m.target_id::text, m.owner_rule <> 'copy' AND m.loaded,
       m.source_id IN (SELECT u.source_id FROM pipelines.id_map u JOIN {target} t ON t.{target_key} = u.target_id
                       WHERE u.move = {move}),
       m.source_id IN (SELECT r.value FROM ({references}) r WHERE r.value IS NOT NULL) OR m.source_id IN (
               SELECT u.source_id FROM ({references}) r JOIN pipelines.id_map u ON u.move = {move} AND u.target_id::text COLLATE "C" = r.written)
FROM pipelines.id_map m
JOIN {owners} o ON o.{owners_key} = m.owner_id
JOIN {source} s ON s.{source_key}::text COLLATE "C" = m.source_id
LEFT JOIN {target} t ON t.{target_key} = m.target_id
WHERE m.move = {move} AND t.{target_key} IS NULL ORDER BY 1, 2;

-- name: created_rows
-- Target rows that the map does not know and that a transaction wrote which was not over at the switch.
SELECT t.{target_key}::text FROM {target} t
LEFT JOIN pipelines.id_map m ON m.move = {move} AND m.target_id = t.{target_key}
CROSS JOIN (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS now,
                   coalesce(switched_xmin::text::bigint, 0) AS switched FROM pipelines.move WHERE move = {move}) v
WHERE m.move IS NULL AND (NOT {knows_versions} OR v.switched > v.now OR t.xmin::text::bigint >= 3
    AND v.now - mod(v.now - t.xmin::text::bigint, 4294967296) >= v.switched) ORDER BY 1;

-- name: referred_rows
-- Rows that the move inserted and that would stay, because a foreign key without CASCADE refers to them.
SELECT m.target_id::text FROM pipelines.id_map m JOIN {target} t ON t.{target_key} = m.target_id
WHERE m.move = {move} AND m.loaded AND ({referred}) ORDER BY 1;

-- name: referred_by
-- The target rows that a foreign key refers to.
({columns_of_t}) IN (SELECT {columns} FROM {table} c WHERE {all_there})

-- name: referred_by_followed
-- The same of a column that the move follows: what it will refer to once it has gone back.
t.{column_of_t} IN (SELECT coalesce({as_uuid}, c.{column}) FROM {table} c
                    LEFT JOIN pipelines.id_map m ON m.move = {move} AND m.target_id = c.{column}
                    WHERE c.{column} IS NOT NULL)

-- name: edited_rows
-- The target's columns of edited rows, as text, and the fingerprint they were loaded with.
SELECT m.source_id, m.target_id::text, m.target_hash::text, {target_texts}
FROM pipelines.id_map m JOIN {target} t ON t.{target_key} = m.target_id
WHERE m.move = {move} AND m.owner_rule <> 'copy' AND m.source_id = ANY (%(source_ids)s);

-- name: places
-- Where the old rows of edits are.
SELECT s.ctid::text FROM {source} s WHERE s.{source_key}::text COLLATE "C" = ANY (%(source_ids)s);

-- name: stage_edits
-- Edits on their way into old rows: the new text of each column, and whether it has one.
CREATE TEMP TABLE edit (source_id text COLLATE "C", {columns}) ON COMMIT DROP;

-- name: add_edit
-- One of them.
INSERT INTO pg_temp.edit VALUES ({values});

-- name: merged
-- What was carried back counts as unchanged from here.
UPDATE pipelines.id_map m SET target_hash = {target_hash} FROM {target} t
WHERE m.move = {move} AND m.owner_rule <> 'copy' AND m.source_id = ANY (%(source_ids)s) AND t.{target_key} = m.target_id;

-- name: next_rows
-- The end of the next batch of the map, in the order of its index.
SELECT target_id::text FROM (
    SELECT m.target_id FROM pipelines.id_map m WHERE m.move = {move} AND m.loaded
      AND (%(after)s IS NULL OR m.target_id > %(after)s::uuid) ORDER BY m.target_id LIMIT %(rows)s
) b ORDER BY b.target_id DESC LIMIT 1;

-- name: removable_rows
-- Rows of a batch that this move inserted, that are as they were, and that nothing refers to, to be deleted. Whoever edits
-- one just now keeps it.
SELECT m.target_id::text FROM pipelines.id_map m JOIN {target} t ON t.{target_key} = m.target_id
WHERE m.move = {move} AND m.loaded AND (%(after)s IS NULL OR m.target_id > %(after)s::uuid) AND m.target_id <= %(last)s::uuid
  AND {target_hash} = m.target_hash AND {owner_of_t} = m.owner_id AND NOT ({filled}) AND NOT ({referred})
FOR UPDATE OF t;

-- name: left_rows
-- Rows that the move inserted and that are still there.
SELECT m.target_id::text FROM pipelines.id_map m JOIN {target} t ON t.{target_key} = m.target_id
WHERE m.move = {move} AND m.loaded ORDER BY 1;

-- name: begin_anew
-- A move that was taken back begins again, with the tables that are there now.
UPDATE pipelines.move SET milestone = %(milestone)s, source_oid = %(source_oid)s, target_oid = %(target_oid)s,
    mapping = %(mapping)s, place = %(place)s, retired_schema = NULL, write_pause_ms = NULL, settled_xmin = NULL,
    switched_xmin = NULL
WHERE move = %(move)s AND fence = %(run_id)s AND milestone = ANY (%(from)s);

-- name: forget
-- What the journal holds about the rows of a move that was taken back.
DELETE FROM {table} WHERE move = %(move)s;
