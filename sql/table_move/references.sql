-- name: all_spellings
-- Source ids that are UUIDs in another spelling than uuid's own: upper case, braces, other hyphens or none.
SELECT k.source_id, k.source_id::uuid AS id FROM (
    SELECT s.{source_key}::text COLLATE "C" AS source_id FROM {source} s
    WHERE octet_length(s.{source_key}::text) BETWEEN 32 AND 41
      AND length(translate(s.{source_key}::text COLLATE "C", '{}-', '')) = 32 OFFSET 0
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
    SELECT {table_name}::text AS table_name, r.{key}::text COLLATE "C" AS row_key, {column_name}::text AS column_name,
           {owner} AS owner_id, r.{column}::text COLLATE "C" AS value, r.{column}::text COLLATE "C" AS written, r.xmin
    FROM {table} r

-- name: of_uuid
-- The references of a uuid column, which match a source id in any spelling.
    SELECT {table_name}::text AS table_name, r.{key}::text COLLATE "C" AS row_key, {column_name}::text AS column_name,
           {owner} AS owner_id, coalesce(a.source_id, r.{column}::text COLLATE "C") AS value,
           r.{column}::text COLLATE "C" AS written, r.xmin
    FROM {table} r LEFT JOIN ({spellings}) a ON a.id = r.{column}

-- name: none
-- A move that nothing refers to.
    SELECT NULL::text AS table_name, NULL::text AS row_key, NULL::text AS column_name, NULL::uuid AS owner_id,
           NULL::text COLLATE "C" AS value, NULL::text COLLATE "C" AS written, NULL::xid AS xmin WHERE false

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
-- Every reference with its class, first match; successor_id is what it has to become. home: the row of the target that
-- it points to, or will. not_copied: the old row is there, wherever the old table is, and the map has nothing for this
-- owner, so that it is no reference to nothing. The comparison is written so that the key's index can answer it.
SELECT r.table_name, r.row_key, r.column_name, r.owner_id, r.value, r.xmin,
       CASE WHEN r.value IS NULL THEN 'null'
            WHEN m.target_id::text COLLATE "C" <> r.written THEN 'to_rewire'
            WHEN m.target_id IS NOT NULL OR {owner_of_t} = r.owner_id THEN 'already_current'
            WHEN t.{target_key} IS NOT NULL THEN 'foreign'
            WHEN EXISTS (SELECT FROM {source} s WHERE s.{source_key}::text = r.value COLLATE pg_catalog."default")
                THEN 'not_copied'
            ELSE 'dangling' END AS class,
       m.target_id AS successor_id, t.{target_key} AS home_id, {owner_of_t} AS home_owner_id
FROM ({references}) r
LEFT JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = r.value AND m.owner_id = r.owner_id
LEFT JOIN {target} t ON t.{target_key}::text COLLATE "C" = coalesce(m.target_id::text COLLATE "C", r.written)

-- name: late
-- How many references still hold an old value that the map knows, and have a row to follow to.
SELECT count(*) FROM ({references}) r
JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = r.value AND m.owner_id = r.owner_id
WHERE m.target_id::text COLLATE "C" <> r.written AND {r_has_a_row};

-- name: has_a_row
-- The row that the map has for a reference is still there, and its owner's: after the switch it may be deleted or given away.
EXISTS (SELECT FROM {target} t WHERE t.{target_key} = m.target_id AND {owner_of_t} = r.owner_id)

-- name: plan_changes
-- The pre-image and the new value of every reference that has to change.
INSERT INTO pipelines.reference_change (move, table_name, row_key, column_name, old_value, new_value, run_id)
SELECT {move}, r.table_name, r.row_key, r.column_name, r.value, m.target_id::text, %(run_id)s FROM ({references}) r
JOIN pipelines.id_map m ON m.move = {move} AND m.source_id = r.value AND m.owner_id = r.owner_id
WHERE {r_in_question} AND m.target_id::text COLLATE "C" <> r.written;

-- name: forget_plan
-- Before the switch, what stands there is a plan; it is made anew.
DELETE FROM pipelines.reference_change WHERE move = {move};

-- name: forget_touched_plan
-- The same of references whose row or whose old value may have moved since.
DELETE FROM pipelines.reference_change c WHERE c.move = {move} AND ({c_in_question} OR (c.table_name, c.row_key) IN (
    SELECT r.table_name, r.row_key FROM ({references}) r WHERE {r_is_new}));

-- name: keep
-- References that point to rows which are not ours already, before ours follow: going back leaves them alone.
INSERT INTO pipelines.kept_reference (move, table_name, row_key, column_name, value)
SELECT {move}, r.table_name, r.row_key, r.column_name, r.value FROM ({references}) r
JOIN pipelines.id_map m ON m.move = {move} AND m.target_id::text COLLATE "C" = r.written AND NOT m.loaded
WHERE {r_in_question} AND m.source_id <> r.value;

-- name: forget_kept
-- Before the switch it is noted anew.
DELETE FROM pipelines.kept_reference WHERE move = {move};

-- name: forget_touched_kept
-- The same of references whose row or whose value may have moved since.
DELETE FROM pipelines.kept_reference c WHERE c.move = {move} AND ({v_in_question} OR (c.table_name, c.row_key) IN (
    SELECT r.table_name, r.row_key FROM ({references}) r WHERE {r_is_new}));

-- name: mark
-- The newest change so far: what comes after it belongs to this transaction.
SELECT coalesce(max(change_id), 0) FROM pipelines.reference_change WHERE move = {move};

-- name: planned
-- What is planned for a table, a line per row: its key, and for each column the old and the new value.
SELECT c.row_key, {planned} FROM pipelines.reference_change c
WHERE c.move = {move} AND c.change_id > %(mark)s AND c.table_name = {table_name} GROUP BY c.row_key

-- name: forget_overtaken
-- Changes of rows that were deleted or changed by somebody else before their turn came.
DELETE FROM pipelines.reference_change c
WHERE c.move = {move} AND c.change_id > %(mark)s AND c.table_name = {table_name} AND NOT EXISTS (
    SELECT FROM ({references}) r WHERE r.table_name = c.table_name AND r.row_key = c.row_key
      AND r.column_name = c.column_name AND r.written = c.new_value);

-- name: changed
-- How many references were changed.
SELECT count(*) FROM pipelines.reference_change WHERE move = {move} AND change_id > %(mark)s;

-- name: without_home
-- A plain count that shares nothing with the suites: references that no row of the target stands behind, and changed
-- ones behind which another owner's row stands.
WITH homeless AS MATERIALIZED (
    SELECT r.table_name, r.row_key, r.column_name, t.{target_key} IS NULL AS dangles
    FROM ({references}) r LEFT JOIN {target} t ON t.{target_key}::text COLLATE "C" = r.written
    WHERE r.value IS NOT NULL AND (t.{target_key} IS NULL OR {owner_of_t} <> r.owner_id)
)
SELECT count(*) FROM homeless h LEFT JOIN (
    SELECT table_name, row_key, column_name FROM pipelines.reference_change
    WHERE move = {move} AND change_id > %(mark)s
) c USING (table_name, row_key, column_name)
WHERE c.row_key IS NOT NULL OR h.dangles AND NOT {dangling_allowed};
