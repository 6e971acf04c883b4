-- name: server
-- What kind of server this is.
SELECT current_setting('server_version_num')::int, pg_is_in_recovery(),
       current_setting('default_transaction_read_only')::bool,
       current_setting('server_encoding'), current_setting('block_size')::int,
       extract(epoch FROM current_setting('deadlock_timeout')::interval)::float8,
       has_database_privilege(current_database(), 'CREATE'), current_user;

-- name: relation
-- One table of the application: identity, kind, size.
SELECT c.oid, c.relkind::text, c.relpersistence::text, coalesce(pg_relation_filenode(c.oid), 0),
       pg_relation_size(c.oid), coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0), c.reltuples::bigint,
       pg_has_role(c.relowner, 'USAGE'),
       has_table_privilege(c.oid, 'SELECT'), has_table_privilege(c.oid, 'INSERT'),
       has_table_privilege(c.oid, 'UPDATE'), has_table_privilege(c.oid, 'DELETE'),
       c.relispartition OR EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhparent, i.inhrelid))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s;

-- name: columns
-- The columns of a table: type, characters it takes, whether NULL is allowed, whether the database fills it.
SELECT a.attname, format_type(a.atttypid, NULL),
       CASE WHEN a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND a.atttypmod > 4 THEN a.atttypmod - 4 END,
       NOT a.attnotnull, a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> ''
FROM pg_attribute a WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;

-- name: is_unique
-- Whether a valid, whole, immediate unique index stands on just this column.
SELECT EXISTS (
    SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = %(oid)s AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
      AND i.indnkeyatts = 1 AND a.attname = %(column)s);

-- name: foreign_keys
-- The foreign keys that point to a table.
SELECT c.conrelid, n.nspname, r.relname, c.conname, pg_get_constraintdef(c.oid), obj_description(c.oid, 'pg_constraint'),
       c.convalidated
FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE c.contype = 'f' AND c.confrelid = %(oid)s AND c.conparentid = 0 ORDER BY n.nspname, r.relname, c.conname;

-- name: dependents
-- What would break, or silently change its meaning, when the table leaves: kind and name.
SELECT CASE v.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END, v.oid::regclass::text
FROM pg_depend d JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
JOIN pg_class v ON v.oid = w.ev_class
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %(oid)s AND v.oid <> %(oid)s
UNION SELECT 'rule', rulename FROM pg_rewrite WHERE ev_class = %(oid)s
UNION SELECT 'policy', polname FROM pg_policy WHERE polrelid = %(oid)s
UNION SELECT 'publication', p.pubname FROM pg_publication p
WHERE p.puballtables OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = %(oid)s)
ORDER BY 1, 2;

-- name: default_owner_by_name
-- The owners with that id or that label.
SELECT o.{owners_key}::text FROM {owners} o
WHERE o.{owners_key}::text = %(given)s OR o.{owners_label}::text = %(given)s ORDER BY 1 LIMIT 2;

-- name: only_owner
-- At most two owners: one of them is the default owner only if it is alone.
SELECT o.{owners_key}::text FROM {owners} o ORDER BY 1 LIMIT 2;

-- name: never_analysed
-- Tables without statistics: a join over them would be planned blindly.
SELECT c.oid FROM pg_class c WHERE c.oid = ANY (%(oids)s::oid[]) AND c.reltuples < 0;
