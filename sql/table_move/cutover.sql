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
-- The open transactions of this database that have written something and may hold a row, prepared ones too.
SELECT format('pid %%s (%%s)', a.pid, coalesce(nullif(a.application_name, ''), '(no name)')) AS who,
       coalesce(round(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start)))::text, '?') AS age
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock' AND a.datname = current_database()
  AND a.pid <> pg_backend_pid() AND a.application_name <> %(ourselves)s
UNION
SELECT format('the prepared transaction %%L', gid), round(extract(epoch FROM clock_timestamp() - prepared))::text
FROM pg_prepared_xacts WHERE database = current_database()
ORDER BY 2 DESC, 1 LIMIT 5;

-- name: blockers
-- Who holds or awaits locks on these tables, other than ourselves.
SELECT DISTINCT a.pid, coalesce(nullif(a.application_name, ''), '(no name)'), l.relation::regclass::text, l.mode,
       round(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start)))::int
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'relation' AND l.relation = ANY (%(oids)s::oid[]) AND l.granted AND a.pid <> pg_backend_pid()
  AND a.application_name <> %(ourselves)s
ORDER BY 5 DESC, 1 LIMIT 5;
