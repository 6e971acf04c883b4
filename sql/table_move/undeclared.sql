-- name: columns
-- Columns of the application's schema that could hold keys of the source: texts, UUIDs, lists of them, JSON. Not those of
-- the source, not those that are declared, not foreign keys to the target, and only what our role may read whole.
SELECT c.relname, a.attname, format_type(a.atttypid, NULL), greatest(c.relpages, 0), CASE
           WHEN coalesce(b.oid, t.oid) IN ('json'::regtype, 'jsonb'::regtype) THEN 'json'
           WHEN coalesce(b.typcategory, t.typcategory) = 'A' THEN 'list' ELSE 'value' END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.oid <> %(source)s
  AND coalesce(b.oid, t.oid) IN (
      'text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'uuid'::regtype, 'text[]'::regtype, 'varchar[]'::regtype,
      'bpchar[]'::regtype, 'uuid[]'::regtype, 'json'::regtype, 'jsonb'::regtype)
  AND has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid)
  AND NOT EXISTS (SELECT FROM unnest(%(tables)s::oid[], %(columns)s::text[]) AS d (of_table, of_column)
                  WHERE d.of_table = c.oid AND d.of_column = a.attname)
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = c.oid AND k.conkey = ARRAY[a.attnum]
                  AND k.confrelid = %(target)s)
ORDER BY 1, 2 LIMIT 500;

-- name: of_value
-- The values of a sample of rows: place, row, value.
SELECT {place}::int AS place, row_number() OVER () AS row, r.value FROM (
    SELECT {column}::text COLLATE "C" AS value FROM {table} {sample} WHERE {column} IS NOT NULL LIMIT 1000) r

-- name: of_list
-- The same of what is in lists.
SELECT {place}::int AS place, r.row, u.value COLLATE "C" FROM (
    SELECT row_number() OVER () AS row, l.list FROM (
        SELECT {column}::text[] AS list FROM {table} {sample} WHERE {column} IS NOT NULL LIMIT 1000) l) r
CROSS JOIN LATERAL unnest(r.list) AS u (value)

-- name: of_json
-- The same of every string in JSON, names too; large documents are left out.
SELECT {place}::int AS place, r.row, m.found[1] COLLATE "C" FROM (
    SELECT row_number() OVER () AS row, j.document FROM (
        SELECT {column}::text AS document FROM {table} {sample} WHERE pg_column_size({column}) < 65536 LIMIT 200) j) r
CROSS JOIN LATERAL regexp_matches(r.document, '"((?:[^"\\]|\\.)*)"', 'g') AS m (found)

-- name: found
-- Where keys of the source stand: place, rows of the sample, those with a key.
WITH sampled (place, row, value) AS MATERIALIZED (
    {samples}
)
SELECT s.place, count(DISTINCT s.row), count(DISTINCT s.row) FILTER (WHERE k.source_id IS NOT NULL)
FROM sampled s LEFT JOIN (SELECT s.{source_key}::text COLLATE "C" AS source_id FROM {source} s) k ON k.source_id = s.value
GROUP BY 1 HAVING bool_or(k.source_id IS NOT NULL) ORDER BY 1;
