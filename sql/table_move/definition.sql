-- name: parts
-- What tables are, part by part: table, kind, name, place, and all that decides what the part holds, takes or does. Row
-- versions do not show a change of it. Foreign keys to the source and the trigger of the freeze are our own affair; NOT
-- NULL is told with its column. Rows that are rewritten have new versions, or are the same: files say nothing more.
WITH it AS (
    SELECT oid, oid::regclass::text AS name FROM pg_class WHERE oid = ANY (%(oids)s::oid[])
)
SELECT it.oid, 'table', '', 0, jsonb_build_object('identity', it.oid::text) FROM it
UNION ALL
SELECT a.attrelid, 'column', a.attname, a.attnum, jsonb_build_object(
           'type', format_type(a.atttypid, a.atttypmod), 'collation', l.collnamespace::regnamespace::text || '.' || l.collname,
           'NOT NULL', a.attnotnull::text, 'default', pg_get_expr(d.adbin, d.adrelid),
           'generation', a.attgenerated::text || a.attidentity::text)
FROM it JOIN pg_attribute a ON a.attrelid = it.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation l ON l.oid = a.attcollation
UNION ALL
SELECT c.conrelid, 'constraint', c.conname, 0,
       jsonb_build_object('definition', replace(pg_get_constraintdef(c.oid), it.name, ''))
FROM it JOIN pg_constraint c ON c.conrelid = it.oid
WHERE c.contype <> 'n' AND NOT (c.contype = 'f' AND c.confrelid IS NOT DISTINCT FROM %(source)s::oid)
UNION ALL
SELECT t.tgrelid, 'trigger', t.tgname, 0, jsonb_build_object(
           'definition', replace(pg_get_triggerdef(t.oid), it.name, ''), 'state', t.tgenabled)
FROM it JOIN pg_trigger t ON t.tgrelid = it.oid WHERE NOT t.tgisinternal AND t.tgname <> 'pipelines_frozen'
ORDER BY 1, 2, 4, 3;
