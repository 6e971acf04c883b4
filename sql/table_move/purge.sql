-- name: table
-- What belongs to the table as a whole: owner, options, comment, grants (NULL: those of the owner alone).
SELECT c.relowner::regrole::text, c.reloptions, (SELECT t.reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid),
       obj_description(c.oid, 'pg_class'), c.relacl IS NOT NULL, s.seclabels
FROM pg_class c CROSS JOIN (SELECT count(*) AS seclabels FROM pg_seclabel WHERE objoid = %(oid)s::oid) s
WHERE c.oid = %(oid)s::oid;

-- name: columns
-- The columns, in order, each with everything that the vocabulary has for it.
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, n.conname, pg_get_expr(d.adbin, d.adrelid),
       a.attidentity, a.attgenerated,
       CASE WHEN a.attcollation <> t.typcollation
            THEN quote_ident(cn.nspname) || '.' || quote_ident(co.collname) END,
       CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage END, a.attcompression, nullif(a.attstattarget, -1),
       a.attoptions, col_description(a.attrelid, a.attnum)
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation co ON co.oid = a.attcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
LEFT JOIN pg_constraint n ON n.conrelid = a.attrelid AND n.contype = 'n' AND n.conkey = ARRAY[a.attnum]
WHERE a.attrelid = %(oid)s::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;

-- name: grants
-- Every grant on the table, or on one of its columns, in the order in which it was given.
SELECT a.attname, g.grantor::regrole::text, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END,
       g.privilege_type, g.is_grantable
FROM (SELECT NULL AS attname, 0 AS attnum, relacl AS acl FROM pg_class WHERE oid = %(oid)s::oid
      UNION ALL SELECT attname, attnum, attacl FROM pg_attribute
      WHERE attrelid = %(oid)s::oid AND attnum > 0 AND NOT attisdropped) a
CROSS JOIN LATERAL aclexplode(a.acl) WITH ORDINALITY AS g (grantor, grantee, privilege_type, is_grantable, place)
ORDER BY a.attnum, g.place;

-- name: identities
-- The sequences behind identity columns.
SELECT a.attname, n.nspname, c.relname, format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
       s.seqcache, s.seqcycle
FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S' JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_sequence s ON s.seqrelid = c.oid JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %(oid)s::oid
  AND d.deptype = 'i' ORDER BY a.attnum;

-- name: sequence_value
-- Where a sequence stands.
SELECT last_value, is_called FROM {sequence};

-- name: constraints
-- The constraints but for NOT NULL, keys first, foreign keys last.
SELECT c.conname, pg_get_constraintdef(c.oid), obj_description(c.oid, 'pg_constraint'),
       obj_description(nullif(c.conindid, 0), 'pg_class')
FROM pg_constraint c WHERE c.conrelid = %(oid)s::oid AND c.contype IN ('p', 'u', 'x', 'c', 'f')
ORDER BY array_position(ARRAY['p', 'u', 'x', 'c', 'f'], c.contype::text), c.conname;

-- name: indexes
-- The other indexes; the definition from the access method on, because what stands before it names the schema.
SELECT x.relname, i.indisunique, substr(pg_get_indexdef(i.indexrelid), length(
           'CREATE ' || CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END || 'INDEX ' || quote_ident(x.relname) || ' ON '
           || quote_ident(n.nspname) || '.' || quote_ident(c.relname) || ' ') + 1),
       obj_description(x.oid, 'pg_class')
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid = %(oid)s::oid
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid) ORDER BY 1;

-- name: unsupported
-- Whatever the vocabulary has no word for: kind, name, and the statement that takes it away, where one does.
WITH t AS (SELECT %(oid)s::oid AS oid, %(oid)s::oid::regclass::text AS label)
SELECT 'trigger', quote_ident(tgname), format('DROP TRIGGER %%I ON %%s;', tgname, t.label) FROM t JOIN pg_trigger ON tgrelid = t.oid
WHERE NOT tgisinternal AND tgname <> 'pipelines_frozen'
UNION ALL SELECT 'rule', quote_ident(rulename), format('DROP RULE %%I ON %%s;', rulename, t.label) FROM t JOIN pg_rewrite ON ev_class = t.oid
UNION ALL SELECT 'policy', quote_ident(polname), format('DROP POLICY %%I ON %%s;', polname, t.label) FROM t JOIN pg_policy ON polrelid = t.oid
UNION ALL SELECT 'inheritance', inhparent::regclass::text, ''
          FROM t JOIN pg_inherits ON inhrelid = t.oid
UNION ALL SELECT 'child', inhrelid::regclass::text, ''
          FROM t JOIN pg_inherits ON inhparent = t.oid
UNION ALL SELECT 'extended statistics', quote_ident(stxname), format('DROP STATISTICS %%s.%%I;', stxnamespace::regnamespace, stxname)
          FROM t JOIN pg_statistic_ext ON stxrelid = t.oid
UNION ALL SELECT 'security label', provider, '' FROM t JOIN pg_seclabel ON objoid = t.oid
UNION ALL SELECT 'owned sequence', d.objid::regclass::text, ''
          FROM t JOIN pg_depend d ON d.refobjid = t.oid JOIN pg_class s ON s.oid = d.objid
          WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a' AND s.relkind = 'S'
UNION ALL SELECT 'grants or comment of the sequence', d.objid::regclass::text, ''
          FROM t JOIN pg_depend d ON d.refobjid = t.oid JOIN pg_class s ON s.oid = d.objid
          WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'i' AND s.relkind = 'S'
            AND (s.relacl IS NOT NULL OR obj_description(s.oid, 'pg_class') IS NOT NULL)
UNION ALL SELECT 'constraint', quote_ident(conname), format('ALTER TABLE %%s DROP CONSTRAINT %%I;', t.label, conname)
          FROM t JOIN pg_constraint k ON conrelid = t.oid
          WHERE contype NOT IN ('p', 'u', 'x', 'c', 'f', 'n')
             OR contype = 'n' AND (NOT convalidated OR connoinherit OR obj_description(k.oid, 'pg_constraint') IS NOT NULL)
UNION ALL SELECT 'grant by another role', quote_ident(r.rolname), ''
          FROM t CROSS JOIN LATERAL (
              SELECT relacl AS acl FROM pg_class WHERE oid = t.oid
              UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = t.oid AND NOT attisdropped) a
          CROSS JOIN LATERAL aclexplode(a.acl) g JOIN pg_roles r ON r.oid = g.grantor
          WHERE g.grantor <> (SELECT relowner FROM pg_class WHERE oid = t.oid)
UNION ALL SELECT w.what, x.oid::regclass::text, w.away
          FROM t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class x ON x.oid = i.indexrelid CROSS JOIN LATERAL (VALUES
              ('tablespace of the index', x.reltablespace <> 0, format('ALTER INDEX %%s SET TABLESPACE pg_default;', x.oid::regclass)),
              ('CLUSTER mark on the index', i.indisclustered, format('ALTER TABLE %%s SET WITHOUT CLUSTER;', t.label)),
              ('invalid index', NOT i.indisvalid, format('REINDEX INDEX %%s;', x.oid::regclass)),
              ('options of the index of a constraint', x.reloptions IS NOT NULL
                  AND EXISTS (SELECT FROM pg_constraint WHERE conindid = x.oid),
               format('ALTER INDEX %%s RESET (%%s);', x.oid::regclass,
                      (SELECT string_agg(split_part(o, '=', 1), ', ') FROM unnest(x.reloptions) o))),
              ('statistics targets of the index', EXISTS (SELECT FROM pg_attribute WHERE attrelid = x.oid
                                                          AND coalesce(attstattarget, -1) >= 0),
               (SELECT string_agg(format('ALTER INDEX %%s ALTER COLUMN %%s SET STATISTICS -1;', x.oid::regclass, attnum), ' ')
                FROM pg_attribute WHERE attrelid = x.oid AND coalesce(attstattarget, -1) >= 0))) w (what, found, away)
          WHERE w.found
UNION ALL SELECT w.what, t.label, w.away
          FROM t JOIN pg_class c ON c.oid = t.oid LEFT JOIN pg_am m ON m.oid = c.relam CROSS JOIN LATERAL (VALUES
              ('row security', c.relrowsecurity OR c.relforcerowsecurity,
               format('ALTER TABLE %%1$s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;', t.label)),
              ('composite type', c.reloftype <> 0, format('ALTER TABLE %%s NOT OF;', t.label)),
              ('tablespace', c.reltablespace <> 0, format('ALTER TABLE %%s SET TABLESPACE pg_default;', t.label)),
              ('replica identity', c.relreplident <> 'd', format('ALTER TABLE %%s REPLICA IDENTITY DEFAULT;', t.label)),
              ('access method', m.amname <> 'heap', format('ALTER TABLE %%s SET ACCESS METHOD heap;', t.label)),
              ('persistence', c.relpersistence <> 'p', format('ALTER TABLE %%s SET LOGGED;', t.label))) w (what, found, away)
          WHERE w.found
ORDER BY 1, 2;

-- name: copy_out
-- The rows, in an order that is the same on every server.
COPY (SELECT {columns} FROM {table} s ORDER BY s.{key}::text COLLATE "C") TO STDOUT;

-- name: copy_back
-- The rows of an archive, into the table that was built for them.
COPY {table} ({columns}) FROM STDIN;

-- name: note_retired
-- What the table was, and what its archive has to be.
INSERT INTO pipelines.retired_table (move, run_id, description, archive)
VALUES ({move}, %(run_id)s, %(description)s, %(archive)s)
ON CONFLICT (move) DO UPDATE SET run_id = excluded.run_id, description = excluded.description,
    archive = excluded.archive, purged_at = clock_timestamp();

-- name: retired
-- What the journal knows of a purged table.
SELECT run_id, description, archive FROM pipelines.retired_table WHERE move = %(move)s;

-- name: missing_roles
-- Roles, in the words of the catalog, that this server does not have.
SELECT DISTINCT r.role FROM unnest(%(roles)s::text[]) AS r (role)
WHERE r.role <> 'PUBLIC' AND to_regrole(r.role) IS NULL ORDER BY 1;

-- name: new_oid
-- The table that was built takes the place of the old one.
UPDATE pipelines.move SET source_oid = %(oid)s::oid WHERE move = {move} AND fence = %(run_id)s;

-- name: grantees
-- Whoever has rights on a table as it was made: default privileges may have given some.
SELECT DISTINCT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END
FROM pg_class c CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) g WHERE c.oid = %(oid)s::oid;

-- name: source_stand_in
-- A purged table as the map remembers it: its keys, and nothing in the other columns.
(SELECT {columns} FROM pipelines.id_map m WHERE m.move = {move} AND m.owner_rule <> 'copy')

-- name: lock_for_archive
-- The first statement of a purge: readers go on while the archive is written and proven, and nothing can change.
LOCK TABLE {source} IN SHARE MODE;

-- name: lock_for_drop
-- NOWAIT: whoever reads the retired table is let finish, and nobody waits behind us.
LOCK TABLE {source} IN ACCESS EXCLUSIVE MODE NOWAIT;
