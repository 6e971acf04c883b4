-- name: dependents
-- What would break, or silently change its meaning, when the source leaves: kind, name, the table it is on. What depends
-- on something that depends on the source comes first, so that the list can be dropped from the top.
WITH RECURSIVE reached (oid, depth) AS (
    SELECT %(oid)s::oid, 0
    UNION
    SELECT v.oid, r.depth + 1 FROM reached r JOIN pg_class c ON c.oid = r.oid LEFT JOIN pg_type t ON t.oid = c.reltype
    JOIN pg_depend d ON (d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid)
                     OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray))
    JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
    JOIN pg_class v ON v.oid = w.ev_class
    WHERE v.oid <> r.oid AND v.relkind IN ('v', 'm') AND r.depth < 100
), depends AS (
    SELECT d.classid, d.objid, d.objsubid, max(r.depth) + 1 AS depth
    FROM reached r JOIN pg_class c ON c.oid = r.oid LEFT JOIN pg_type t ON t.oid = c.reltype
    JOIN pg_depend d ON (d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid)
                     OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray))
    GROUP BY 1, 2, 3
), found (depth, kind, name, relation) AS (
    SELECT max(depth), CASE v.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END,
           format('%%s.%%I', v.relnamespace::regnamespace, v.relname), v.oid
    FROM reached r JOIN pg_class v ON v.oid = r.oid WHERE depth > 0 GROUP BY v.oid, v.relkind, v.relnamespace, v.relname
    UNION ALL
    SELECT d.depth, 'rule', quote_ident(w.rulename), w.ev_class
    FROM depends d JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
    WHERE w.ev_class NOT IN (SELECT oid FROM reached)
    UNION ALL
    SELECT d.depth, 'policy', quote_ident(p.polname), p.polrelid
    FROM depends d JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
    WHERE p.polrelid <> %(oid)s
    UNION ALL
    SELECT d.depth, CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
           format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), 0::oid
    FROM depends d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    JOIN pg_namespace n ON n.oid = p.pronamespace
    UNION ALL
    SELECT d.depth, CASE a.attgenerated WHEN '' THEN 'default' ELSE 'generated column' END, quote_ident(a.attname),
           a.attrelid
    FROM depends d JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
    JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum WHERE a.attrelid <> %(oid)s
    UNION ALL
    SELECT d.depth, 'constraint', quote_ident(k.conname), k.conrelid
    FROM depends d JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
    WHERE k.contype <> 'f' AND k.conrelid NOT IN (0, %(oid)s)
    UNION ALL
    SELECT d.depth, 'column', quote_ident(a.attname), a.attrelid
    FROM depends d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind IN ('r', 'p')
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid WHERE d.objsubid > 0 AND c.oid <> %(oid)s
)
SELECT f.kind, f.name, coalesce(c.relnamespace::regnamespace || '.' || quote_ident(c.relname), '')
FROM found f LEFT JOIN pg_class c ON c.oid = f.relation GROUP BY 1, 2, 3 ORDER BY max(f.depth) DESC, 1, 2, 3;

-- name: policies
-- The policies of the source itself: kind, name, table.
SELECT 'policy', quote_ident(p.polname), format('%%I.%%I', n.nspname, c.relname)
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = %(oid)s ORDER BY 2;

-- name: publications
-- What sends the changes of tables elsewhere: kind, name, tables.
SELECT d.kind, quote_ident(d.name), string_agg(format('%%I.%%I', n.nspname, c.relname), ', ' ORDER BY c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL (
    SELECT 'publication of all tables' AS kind, pubname AS name FROM pg_publication WHERE puballtables
    UNION ALL SELECT 'publication', p.pubname FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
    WHERE r.prrelid = c.oid
) d WHERE c.oid = ANY (%(oids)s::oid[]) GROUP BY d.kind, d.name ORDER BY 1, 2;

-- name: publications_of_the_schema
-- Publications of all tables in the schema of tables. The catalog exists from PostgreSQL 15 on.
SELECT DISTINCT 'publication of the schema', quote_ident(p.pubname), quote_ident(n.nspname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_publication_namespace s ON s.pnnspid = n.oid JOIN pg_publication p ON p.oid = s.pnpubid
WHERE c.oid = ANY (%(oids)s::oid[]) ORDER BY 2;

-- name: subscriptions
-- What writes into tables what was written elsewhere: kind, name, tables. Every role may read these columns.
SELECT 'subscription', quote_ident(s.subname), string_agg(format('%%I.%%I', n.nspname, c.relname), ', ' ORDER BY c.relname)
FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid
JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%(oids)s::oid[]) GROUP BY s.subname ORDER BY 2;

-- name: rules
-- Rewrite rules on tables: kind, name, table.
SELECT 'rule', quote_ident(w.rulename), format('%%I.%%I', n.nspname, c.relname)
FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%(oids)s::oid[]) AND c.relkind = 'r' ORDER BY 3, 2;

-- name: prepared
-- Prepared transactions that hold locks on tables: they hold them for as long as nobody ends them. Their locks are found
-- by the lock on their own id: the virtual id is -1/xid after a restart only, before it is that of the session.
SELECT DISTINCT p.gid, format('%%I.%%I', n.nspname, c.relname)
FROM pg_prepared_xacts p
JOIN pg_locks x ON x.locktype = 'transactionid' AND x.pid IS NULL AND x.transactionid = p.transaction
JOIN pg_locks l ON l.locktype = 'relation' AND l.pid IS NULL AND l.virtualtransaction = x.virtualtransaction
JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.database = current_database() AND l.relation = ANY (%(oids)s::oid[]) ORDER BY 1, 2;

-- name: search_path
-- The search_path as it is pinned, and as the role and the database would have it for whoever logs in like us.
SELECT p.setting, coalesce((
    SELECT substring(e.entry FROM 13) FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS e (entry)
    WHERE e.entry LIKE 'search_path=%%'
      AND s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
      AND s.setrole IN (0, (SELECT r.oid FROM pg_roles r WHERE r.rolname = session_user))
    ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1), p.boot_val)
FROM pg_settings p WHERE p.name = 'search_path';

-- name: resolve
-- What a bare name means. Runs under a path that is not ours, so everything in it is qualified, and it has no operator.
SELECT pg_catalog.to_regclass(pg_catalog.quote_ident(%(name)s))::pg_catalog.oid;

-- name: full_name
-- The schema of a relation, and its quoted name.
SELECT n.nspname, format('%%I.%%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = %(oid)s;

-- name: invalid_indexes
-- Indexes that failed to build, and are kept up to date at most: name and table.
SELECT format('%%I.%%I', n.nspname, x.relname), format('%%I.%%I', m.nspname, c.relname)
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = x.relnamespace
JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace m ON m.oid = c.relnamespace
WHERE i.indrelid = ANY (%(oids)s::oid[]) AND NOT (i.indisvalid AND i.indisready AND i.indislive) ORDER BY 1;

-- name: collation
-- The versions of the database's collation, where they differ. The column exists from PostgreSQL 15 on.
SELECT datcollversion, pg_database_collation_actual_version(oid) FROM pg_database
WHERE datname = current_database() AND datcollversion <> pg_database_collation_actual_version(oid);

-- name: data_directory
-- Where a table's files are: a row only where our role may know, and where the table is in no other tablespace.
SELECT s.setting FROM pg_settings s JOIN pg_database d ON d.datname = current_database()
JOIN pg_class c ON c.oid = %(oid)s
WHERE s.name = 'data_directory' AND s.setting <> ''
  AND pg_tablespace_location(coalesce(nullif(c.reltablespace, 0), d.dattablespace)) = '';

-- name: sequences
-- Sequences of a table's defaults that our role may not use. CASE, because the function raises for anything else.
SELECT DISTINCT format('%%I.%%I', n.nspname, s.relname)
FROM pg_attrdef f JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
JOIN pg_class s ON d.refclassid = 'pg_class'::regclass AND s.oid = d.refobjid
JOIN pg_namespace n ON n.oid = s.relnamespace
WHERE f.adrelid = %(oid)s AND NOT CASE s.relkind WHEN 'S' THEN has_sequence_privilege(s.oid, 'USAGE') END ORDER BY 1;

-- name: unique_indexes
-- Unique indexes of a table that are not on just its key.
SELECT format('%%I.%%I', n.nspname, x.relname)
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = x.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = %(oid)s AND (i.indisunique OR i.indisexclusion)
  AND NOT (i.indnkeyatts = 1 AND a.attname IS NOT DISTINCT FROM %(key)s) ORDER BY 1;

-- name: functions
-- Functions and procedures whose source names a table as a word.
SELECT format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pipelines') AND l.lanname NOT IN ('c', 'internal')
  AND p.prosrc ~* ('\m' || regexp_replace(%(table)s, '(\W)', '\\\1', 'g') || '\M') ORDER BY 1;

-- name: triggers
-- The installation's own triggers on tables, as far as they fire in a session like ours.
SELECT t.tgrelid, quote_ident(t.tgname), format('%%I.%%I', n.nspname, p.proname),
       CASE WHEN t.tgtype & 2 <> 0 THEN 'BEFORE' ELSE 'AFTER' END,
       array_remove(ARRAY[CASE WHEN t.tgtype & 4 <> 0 THEN 'INSERT' END, CASE WHEN t.tgtype & 8 <> 0 THEN 'DELETE' END,
                          CASE WHEN t.tgtype & 16 <> 0 THEN 'UPDATE' END,
                          CASE WHEN t.tgtype & 32 <> 0 THEN 'TRUNCATE' END], NULL),
       t.tgtype & 1 <> 0,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr::int2[]))
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE t.tgrelid = ANY (%(oids)s::oid[]) AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') ORDER BY 1, 2;

-- name: event_triggers
-- Event triggers that fire in a session like ours: name and event.
SELECT quote_ident(evtname), evtevent FROM pg_event_trigger WHERE evtenabled IN ('O', 'A') ORDER BY 1;

-- name: readers
-- Roles, and PUBLIC, that may read the target but not the source.
SELECT name FROM (
    SELECT 'PUBLIC' AS name, has_any_column_privilege('public', %(target)s::oid, 'SELECT') AS target,
           has_any_column_privilege('public', %(source)s::oid, 'SELECT') AS source
    UNION ALL
    SELECT rolname, has_any_column_privilege(oid, %(target)s::oid, 'SELECT'),
           has_any_column_privilege(oid, %(source)s::oid, 'SELECT')
    FROM pg_roles WHERE NOT rolsuper AND rolname !~ '^pg_'
) r WHERE target AND NOT source ORDER BY name <> 'PUBLIC', name;
