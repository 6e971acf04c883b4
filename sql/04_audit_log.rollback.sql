-- 04, back: nothing is recorded any more. In one transaction.
--
-- What it does   Drops the triggers and the schema audit with its lines, so that it raises where there is one. The role
--                audit_reader leaves if 04 made it and nobody else needs it: no member, no right in any database.
-- Locks          ACCESS EXCLUSIVE on stages and templates for a moment, awaited for lock_timeout at most (500ms unless yours
--                is set).
-- Time           Moments.
-- Going back     04_audit_log.sql, which begins a new log
--
--   pipelines.accept_loss   on: go back although lines are lost (--accept-loss of `down`)
--   pipelines.schema        schema of the application, else public

-- From here every name is that of pg_catalog, also that of a type or an operator, whatever somebody has made in the
-- application's schema.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('pipelines.path', pg_catalog.current_setting('search_path'), false);
END
$path$;
SET search_path = pg_catalog, pg_temp;

DO $migration$
DECLARE
    application     CONSTANT text := coalesce(nullif(current_setting('pipelines.schema', true), ''), 'public');
    accept_loss     CONSTANT boolean := coalesce(nullif(current_setting('pipelines.accept_loss', true), ''), 'off')::boolean;
    settings_before CONSTANT jsonb := (SELECT jsonb_object_agg(name, current_setting(name)) FROM pg_catalog.unnest(
                                       ARRAY['lock_timeout', 'client_min_messages']) AS name);
    -- In milliseconds: over before the server looks for a deadlock, so that nobody else ends for our sake.
    patience    CONSTANT text := greatest(1000::numeric * extract(epoch FROM least(
                             coalesce(nullif(current_setting('lock_timeout'), '0'), '500ms')::interval,
                             current_setting('deadlock_timeout')::interval / 2::float8)), 1::numeric)::int::text;
    of_table    text;
BEGIN
    IF to_regclass('pipelines_migrations.applied') IS NOT NULL THEN
        DELETE FROM pipelines_migrations.applied WHERE number = 4;
    END IF;
    IF obj_description(to_regnamespace('audit'), 'pg_namespace') IS DISTINCT FROM 'audit log, version 1' THEN
        PERFORM set_config(key, value, true) FROM jsonb_each_text(settings_before);
        RAISE NOTICE 'There is no audit log of this file: nothing is left to do.';
        RETURN;
    END IF;
    -- VACUUM gives way, but only after a while; in this mode nobody else waits behind us.
    PERFORM set_config('lock_timeout', '0', true);
    EXECUTE format('LOCK TABLE %1$I.stages, %1$I.templates IN SHARE UPDATE EXCLUSIVE MODE', application);
    PERFORM set_config('lock_timeout', patience, true);
    -- Nobody waits for a client that sleeps in front of its COMMIT.
    PERFORM set_config('idle_in_transaction_session_timeout', '5s', true);
    EXECUTE format('LOCK TABLE %1$I.stages, %1$I.templates IN ACCESS EXCLUSIVE MODE', application);
    IF EXISTS (SELECT FROM audit.change) AND NOT accept_loss THEN
        RAISE EXCEPTION 'the lines of audit.change would be lost'
            USING HINT = 'Nothing was changed. Save them first: \copy (SELECT * FROM audit.change) TO FILE; to go back all the '
                         'same: down --accept-loss; with psql PGOPTIONS=''-c pipelines.accept_loss=on''';
    END IF;
    PERFORM set_config('client_min_messages', 'warning', true);
    FOREACH of_table IN ARRAY ARRAY['stages', 'templates'] LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS audit_insert ON %1$I.%2$I; DROP TRIGGER IF EXISTS audit_update ON %1$I.%2$I;'
                       'DROP TRIGGER IF EXISTS audit_delete ON %1$I.%2$I; DROP TRIGGER IF EXISTS audit_truncate ON %1$I.%2$I',
                       application, of_table);
    END LOOP;
    DROP FUNCTION audit.record_change(), audit.add_partitions(integer);
    DROP TABLE audit.change;  -- and its partitions; not those that were detached, which the schema then does not let go
    DROP SCHEMA audit;

    IF EXISTS (SELECT FROM pg_roles r WHERE rolname = 'audit_reader'
               AND shobj_description(oid, 'pg_authid') LIKE '%Made by migration 04.'
               AND NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid = r.oid AND member <> quote_ident(session_user)::regrole))
    THEN
        BEGIN
            DROP ROLE audit_reader;
        EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
            NULL;  -- another database of this server has an audit log as well
        END;
    END IF;
    PERFORM set_config(key, value, true) FROM jsonb_each_text(settings_before);
END
$migration$;

-- The session's own path again.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', coalesce(pg_catalog.current_setting('pipelines.path', true), 'public'), false);
END
$path$;
