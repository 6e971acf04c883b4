-- name: lock_source_and_references
-- The first statement of the switch: from here readers go on and writers wait. One fixed order.
LOCK TABLE {locked} IN SHARE ROW EXCLUSIVE MODE;

-- name: lock_target
-- Writers of the target wait too. NOWAIT: this transaction already makes others wait, so it must not wait itself.
LOCK TABLE {target} IN SHARE MODE NOWAIT;

-- name: lock_for_retire
-- The first statement of the retirement.
LOCK TABLE {source} IN ACCESS EXCLUSIVE MODE;

-- name: freeze
-- From here the old table refuses writes, those of replica sessions too, and says where to go. A way back that was
-- broken off may have left the trigger there, disabled.
CREATE OR REPLACE TRIGGER pipelines_frozen BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {source}
FOR EACH STATEMENT EXECUTE FUNCTION pipelines.refuse_write({frozen_for});
ALTER TABLE {source} ENABLE ALWAYS TRIGGER pipelines_frozen;

-- name: has_written
-- Whether this transaction, through what its statements set off, has changed rows of a table or deleted some. A server
-- that does not count cannot tell.
SELECT NOT current_setting('track_counts')::boolean
    OR pg_stat_get_xact_tuples_updated(%(oid)s::oid) + pg_stat_get_xact_tuples_deleted(%(oid)s::oid) > 0;

-- name: is_frozen
-- Whether the trigger of the freeze stands and fires for everybody.
SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = %(oid)s::oid AND tgname = 'pipelines_frozen' AND tgenabled = 'A');

-- name: release
-- A foreign key to the old table leaves.
ALTER TABLE {table} DROP CONSTRAINT {constraint};

-- name: record_release
-- What left, to be put back.
INSERT INTO pipelines.foreign_key (move, table_oid, table_name, constraint_name, definition, comment, validated, run_id)
VALUES ({move}, %(table_oid)s, %(table_name)s, %(constraint_name)s, %(definition)s, %(comment)s, %(validated)s,
        %(run_id)s) ON CONFLICT DO NOTHING;

-- name: restore
-- A foreign key comes back without a scan; VALIDATE follows on its own.
ALTER TABLE {table} ADD CONSTRAINT {constraint} {definition} NOT VALID;

-- name: released
-- The foreign keys that left, and whether they are back already, though perhaps not validated.
SELECT k.table_name, k.constraint_name, k.definition, k.comment, k.validated,
       EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = k.table_oid AND c.conname = k.constraint_name)
FROM pipelines.foreign_key k WHERE k.move = {move} ORDER BY k.table_name, k.constraint_name;

-- name: forget_release
-- It is back.
DELETE FROM pipelines.foreign_key
WHERE move = {move} AND table_name = %(table_name)s AND constraint_name = %(constraint_name)s;

-- name: tables_of
-- The tables of these schemas.
SELECT oid FROM pg_class
WHERE relkind IN ('r', 'p') AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = ANY (%(schemas)s));

-- name: locked_altogether
-- The tables of these schemas that somebody has locked altogether.
SELECT DISTINCT c.oid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'AccessExclusiveLock'
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.relkind IN ('r', 'p') AND c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = ANY (%(schemas)s));

-- name: open_writers
-- The open transactions of this database that have written something and may hold a row: pid and application, or the name of
-- a prepared transaction, and their age in seconds, which of some sessions our role may not see.
SELECT l.pid, a.application_name, NULL::text AS gid,
       round(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start)))::int AS age
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock' AND a.datname = current_database()
  AND l.pid <> pg_backend_pid() AND l.pid <> ALL (%(own)s::int[])
UNION
SELECT NULL, NULL, p.gid, round(extract(epoch FROM clock_timestamp() - p.prepared))::int
FROM pg_prepared_xacts p WHERE p.database = current_database()
ORDER BY 4 DESC NULLS LAST, 1 LIMIT 5;

-- name: blockers
-- Who holds locks on these tables, other than this process: the same, and which lock on which table.
SELECT DISTINCT l.pid, a.application_name, p.gid,
       round(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start, p.prepared)))::int AS age,
       l.mode, l.relation::regclass::text
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid'
    AND x.virtualtransaction = l.virtualtransaction
LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
WHERE l.locktype = 'relation' AND l.relation = ANY (%(oids)s::oid[]) AND l.granted
  AND (l.pid IS NULL OR l.pid <> pg_backend_pid() AND l.pid <> ALL (%(own)s::int[]))
ORDER BY 4 DESC NULLS LAST, 1 LIMIT 5;
