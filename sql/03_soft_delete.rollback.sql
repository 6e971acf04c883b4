-- transactional: false
-- 03, back: rows are deleted for good again, or not at all. In one transaction.
--
-- What it does   Drops the functions, the indexes and the columns that 03 made; a deleted_at that was there before stays. A row
--                that is deleted softly would live again, so that it raises where there is one.
-- Locks          ACCESS EXCLUSIVE on stages and templates for a moment, awaited for lock_timeout at most (500ms unless yours
--                is set).
-- Time           Moments.
-- Going back     03_soft_delete.sql
--
--   pipelines.accept_loss   on: go back although rows are deleted softly; they live again (--accept-loss of `down`)

SET standard_conforming_strings = on;  -- a backslash below is one

-- The application's schema is that in which stages is found now. From here every name is that of pg_catalog, also that of an
-- operator, whatever somebody has made in the application's schema.
DO $home$
DECLARE
    found CONSTANT pg_catalog.text := (
        SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('stages'));
BEGIN
    IF found IS NOT NULL THEN
        PERFORM pg_catalog.set_config('pipelines.home', found, false),
                pg_catalog.set_config('pipelines.path', pg_catalog.current_setting('search_path'), false);
    END IF;
END
$home$;
SET search_path = pg_catalog, pg_temp;

DO $migration$
DECLARE
    home        CONSTANT text := current_setting('pipelines.home', true);
    accept_loss CONSTANT boolean := coalesce(nullif(current_setting('pipelines.accept_loss', true), ''), 'off')::boolean;
    -- In milliseconds: over before the server looks for a deadlock, so that nobody else ends for our sake.
    patience    CONSTANT text := greatest(1000::numeric * extract(epoch FROM least(
                             coalesce(nullif(current_setting('lock_timeout'), '0'), '500ms')::interval,
                             current_setting('deadlock_timeout')::interval / 2::float8)), 1::numeric)::int::text;
    of_table    text;
    deleted     bigint;
BEGIN
    IF to_regclass(home || '.stages') IS NULL THEN
        RAISE EXCEPTION 'there is no stages in the search_path'
            USING HINT = 'Name the application''s schema: PGOPTIONS=''-c search_path=NAME'', or --schema NAME';
    END IF;
    PERFORM set_config('client_min_messages', 'warning', true);
    -- VACUUM gives way, but only after a while; in this mode nobody else waits behind us.
    PERFORM set_config('lock_timeout', '0', true);
    EXECUTE format('LOCK TABLE %1$s.stages, %1$s.templates IN SHARE UPDATE EXCLUSIVE MODE', home);
    PERFORM set_config('lock_timeout', patience, true);
    -- Nobody waits for a client that sleeps in front of its COMMIT.
    PERFORM set_config('idle_in_transaction_session_timeout', '5s', true);
    EXECUTE format('LOCK TABLE %1$s.stages, %1$s.templates IN ACCESS EXCLUSIVE MODE', home);

    EXECUTE format('DROP FUNCTION IF EXISTS %1$s.living_stages(), %1$s.living_templates(), %1$s.soft_delete_stage(uuid),'
                   ' %1$s.restore_stage(uuid), %1$s.soft_delete_template(uuid), %1$s.restore_template(uuid)', home);
    FOREACH of_table IN ARRAY ARRAY['stages', 'templates'] LOOP
        CONTINUE WHEN NOT EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = to_regclass(home || '.' || of_table) AND attname = 'deleted_at' AND NOT attisdropped
            AND col_description(attrelid, attnum) LIKE '%Made by migration 03.');
        EXECUTE format('SELECT count(*) FROM %s.%I WHERE deleted_at IS NOT NULL', home, of_table) INTO deleted;
        IF deleted > 0 AND NOT accept_loss THEN
            RAISE EXCEPTION '% rows of % are deleted softly and would live again', deleted, of_table
                USING HINT = 'Nothing was changed. Restore them or delete them for good; to go back all the same: '
                             'down --accept-loss; with psql PGOPTIONS=''-c pipelines.accept_loss=on''';
        END IF;
        EXECUTE format('ALTER TABLE %s.%I DROP COLUMN deleted_at', home, of_table);
    END LOOP;
    EXECUTE format('DROP INDEX IF EXISTS %1$s.idx_stages_deleted_at, %1$s.idx_templates_deleted_at', home);  -- where the column stays

    DELETE FROM pipelines_migrations.applied WHERE number = 3;
END
$migration$;

-- The session's own path again.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', coalesce(pg_catalog.current_setting('pipelines.path', true), 'public'), false);
END
$path$;
