-- name: server
-- What kind of server this is, and what our role may do in the database.
SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), s.setting::bool, s.source,
       current_setting('server_encoding'), current_setting('block_size')::int,
       extract(epoch FROM current_setting('deadlock_timeout')::interval)::float8, current_database(),
       has_database_privilege(current_database(), 'CREATE'), has_database_privilege(current_database(), 'TEMPORARY'),
       current_user, session_user, u.rolinherit,
       CASE WHEN r.rolsuper THEN -1 ELSE r.rolconnlimit END, CASE WHEN r.rolsuper THEN -1 ELSE d.datconnlimit END
FROM pg_settings s, pg_roles r, pg_roles u, pg_database d
WHERE s.name = 'default_transaction_read_only' AND r.rolname = session_user AND u.rolname = current_user
  AND d.datname = current_database();

-- name: schema_rights
-- What our role may do in the application's schema; no row where there is no such schema.
SELECT has_schema_privilege(oid, 'USAGE'), has_schema_privilege(oid, 'CREATE') FROM pg_namespace
WHERE nspname = %(schema)s;

-- name: relation
-- One table of the application: identity, kind, size, owner, relatives, row security.
SELECT c.oid, c.relkind::text, c.relpersistence::text, coalesce(pg_relation_filenode(c.oid), 0),
       coalesce(pg_relation_size(c.oid), 0), coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0),
       c.reltuples::bigint, o.rolname, o.rolsuper, pg_has_role(c.relowner, 'USAGE'), c.relispartition,
       ARRAY(SELECT format('%%s.%%I', p.relnamespace::regnamespace, p.relname)
             FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent WHERE i.inhrelid = c.oid ORDER BY i.inhseqno),
       ARRAY(SELECT format('%%s.%%I', k.relnamespace::regnamespace, k.relname)
             FROM pg_inherits i JOIN pg_class k ON k.oid = i.inhrelid WHERE i.inhparent = c.oid ORDER BY 1),
       c.relrowsecurity, (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid), row_security_active(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
WHERE n.nspname = %(schema)s AND c.relname = %(table)s;

-- name: rights
-- What our role may do with a whole table; grants on columns do not suffice.
SELECT r.name FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) r (name)
WHERE has_table_privilege(%(oid)s::oid, r.name);

-- name: columns
-- The columns of a table: type, characters it takes, whether NULL is allowed, whether and how the database fills it.
SELECT a.attname, format_type(t.type, NULL),
       CASE WHEN t.type IN ('varchar'::regtype, 'bpchar'::regtype) AND t.modifier > 4 THEN t.modifier - 4 END,
       NOT (a.attnotnull OR t.typnotnull),
       a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '' OR t.typdefault IS NOT NULL,
       CASE WHEN a.attgenerated = 's' THEN 'stored' WHEN a.attgenerated <> '' THEN 'virtual'
            WHEN a.attidentity = 'a' THEN 'identity' ELSE '' END
FROM pg_attribute a CROSS JOIN LATERAL (
    SELECT CASE typtype WHEN 'd' THEN typbasetype ELSE oid END AS type,
           CASE typtype WHEN 'd' THEN typtypmod ELSE a.atttypmod END AS modifier, typnotnull, typdefault
    FROM pg_type WHERE oid = a.atttypid
) t
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;

-- name: unique_columns
-- The columns on which alone a valid, whole, immediate unique index stands.
SELECT DISTINCT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = %(oid)s AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
  AND i.indnkeyatts = 1;

-- name: foreign_keys
-- The foreign keys that point to a table.
SELECT c.conrelid, n.nspname, r.relname, c.conname, pg_get_constraintdef(c.oid), obj_description(c.oid, 'pg_constraint'),
       c.convalidated,
       ARRAY(SELECT a.attname::text FROM unnest(c.conkey) k JOIN pg_attribute a ON a.attrelid = c.conrelid
             AND a.attnum = k),
       ARRAY(SELECT a.attname::text FROM unnest(c.confkey) k JOIN pg_attribute a ON a.attrelid = c.confrelid
             AND a.attnum = k), o.rolname, o.rolsuper, pg_has_role(r.relowner, 'USAGE')
FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid JOIN pg_namespace n ON n.oid = r.relnamespace
JOIN pg_roles o ON o.oid = r.relowner
WHERE c.contype = 'f' AND c.confrelid = %(oid)s AND c.conparentid = 0 ORDER BY n.nspname, r.relname, c.conname;

-- name: retired_schemas
-- Schemas of retired tables, and whether they hold a table of this name.
SELECT n.nspname, EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = %(table)s)
FROM pg_namespace n WHERE n.nspname ~ '^pipelines_retired_[0-9]+$' ORDER BY 1;

-- name: default_owner_by_name
-- The owners with that id or that label.
SELECT o.{owners_key}::text FROM {owners} o
WHERE o.{owners_key}::text = %(given)s OR o.{owners_label}::text COLLATE "C" = %(given)s ORDER BY 1 LIMIT 2;

-- name: only_owner
-- At most two owners: one of them is the default owner only if it is alone.
SELECT o.{owners_key}::text FROM {owners} o ORDER BY 1 LIMIT 2;

-- name: never_analysed
-- Tables without statistics: a join over them would be planned blindly.
SELECT c.oid FROM pg_class c WHERE c.oid = ANY (%(oids)s::oid[]) AND c.reltuples < 0;
