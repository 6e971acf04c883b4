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
DO $migration$
DECLARE
    home        CONSTANT text := (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                                  WHERE c.oid = to_regclass('stages'));
    accept_loss CONSTANT boolean := coalesce(nullif(current_setting('pipelines.accept_loss', true), ''), 'off')::boolean;
    -- In milliseconds: over before the server looks for a deadlock, so that nobody else ends for our sake.
    patience    CONSTANT text := greatest(1000::numeric * extract(epoch FROM least(
                             coalesce(nullif(current_setting('lock_timeout'), '0'), '500ms')::interval,
                             current_setting('deadlock_timeout')::interval / 2::float8)), 1::numeric)::int::text;
    of_table    text;
    deleted     bigint;
BEGIN
    IF home IS NULL THEN
        RAISE EXCEPTION 'there is no stages in the search_path'
            USING HINT = 'Name the application''s schema: PGOPTIONS=''-c search_path=NAME'', or --schema NAME';
    END IF;
    PERFORM set_config('search_path', format('%I, pg_temp', home), true), set_config('client_min_messages', 'warning', true);
    -- VACUUM gives way, but only after a while; in this mode nobody else waits behind us.
    PERFORM set_config('lock_timeout', '0', true);
    LOCK TABLE stages, templates IN SHARE UPDATE EXCLUSIVE MODE;
    PERFORM set_config('lock_timeout', patience, true);
    -- Nobody waits for a client that sleeps in front of its COMMIT.
    PERFORM set_config('idle_in_transaction_session_timeout', '5s', true);
    LOCK TABLE stages, templates IN ACCESS EXCLUSIVE MODE;

    DROP FUNCTION IF EXISTS living_stages(), living_templates(), soft_delete_stage(uuid), restore_stage(uuid),
                            soft_delete_template(uuid), restore_template(uuid);
    FOREACH of_table IN ARRAY ARRAY['stages', 'templates'] LOOP
        CONTINUE WHEN NOT EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = of_table::regclass AND attname = 'deleted_at' AND NOT attisdropped
            AND col_description(attrelid, attnum) LIKE '%Made by migration 03.');
        EXECUTE format('SELECT count(*) FROM %I WHERE deleted_at IS NOT NULL', of_table) INTO deleted;
        IF deleted > 0 AND NOT accept_loss THEN
            RAISE EXCEPTION '% rows of % are deleted softly and would live again', deleted, of_table
                USING HINT = 'Nothing was changed. Restore them or delete them for good; to go back all the same: '
                             'PGOPTIONS=''-c pipelines.accept_loss=on'', or down --accept-loss';
        END IF;
        EXECUTE format('ALTER TABLE %I DROP COLUMN deleted_at', of_table);
    END LOOP;
    DROP INDEX IF EXISTS idx_stages_deleted_at, idx_templates_deleted_at;  -- where the column stays

    DELETE FROM pipelines_migrations.applied WHERE number = 3;
END
$migration$;
