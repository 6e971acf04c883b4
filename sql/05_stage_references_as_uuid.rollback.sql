-- transactional: false
-- 05, back: the references of stages have the type that they had, while the application goes on.
--
-- What it does   The columns that 05 made uuid become what they were (varchar, of the same length) with the same values, those
--                written since as well, and with their index, comment and NOT NULL; the foreign keys that 05 made leave;
--                templates.content may be NULL again where it was so. Columns, keys and NOT NULL that were there before 05
--                stay; a key that 05 only validated stays valid. The columns are the last of the table, otherwise everything
--                is as before. Works from wherever 05 stands.
-- How            As 05, by its procedures in the schema pipelines_migrations, which leave with it.
-- Locks          Those of 05.
-- Time           That of 05.
-- Going back     05_stage_references_as_uuid.sql
--
-- Not in a transaction: psql -X -v ON_ERROR_STOP=1 -f, without -1. Interrupted: run it again, or 05.

SET client_min_messages = warning;
SET default_transaction_isolation = 'read committed';
SET row_security = off;
SET statement_timeout = 0;
SET work_mem = '64MB';

SET standard_conforming_strings = on;  -- a backslash below is one

-- 1. The application's schema is that in which stages is found now. From here every name is that of pg_catalog, also that of an
-- operator, whatever somebody has made in the application's schema.
DO $home$
DECLARE
    found CONSTANT pg_catalog.text := (
        SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('stages'));
BEGIN
    IF found IS NOT NULL THEN
        PERFORM pg_catalog.set_config('pipelines.given', found, false),
                pg_catalog.set_config('pipelines.path', pg_catalog.current_setting('search_path'), false);
    END IF;
    -- Nothing is found there until the first step has ended well: without ON_ERROR_STOP psql goes on after an error.
    PERFORM pg_catalog.set_config('pipelines.home', 'pg_temp', false), pg_catalog.set_config('pipelines.checked', '', false);
END
$home$;
SET search_path = pg_catalog, pg_temp;
-- Each lock is awaited for a while.
-- What the settings allow is told to the plan; only the plan opens the application's schema.
DO $settings$
DECLARE
    home      CONSTANT text := current_setting('pipelines.given', true);
    this_move CONSTANT text := 'templates' || CASE home WHEN 'public' THEN '' ELSE '@' || (parse_ident(home))[1] END;
BEGIN
    IF to_regclass(home || '.stages') IS NULL OR to_regclass(home || '.templates') IS NULL THEN
        RAISE EXCEPTION 'there is no stages or no templates in the search_path'
            USING HINT = 'Name the application''s schema: PGOPTIONS=''-c search_path=NAME'', or --schema NAME';
    ELSIF NOT pg_try_advisory_lock(
        (('x' || encode(substring(sha256('table_move') FROM 1 FOR 4), 'hex'))::bit(32)::bigint & 2147483647)::int,
        (('x' || encode(substring(sha256(convert_to('table_move/' || this_move, 'UTF8')) FROM 1 FOR 4), 'hex'))::bit(32)::bigint
         & 2147483647)::int)
    THEN
        RAISE EXCEPTION 'a run of the move %, or of this file, is active', this_move
            USING ERRCODE = 'object_in_use', HINT = 'Wait for it: python -m pipelines.templates status says where it stands.';
    END IF;
    PERFORM set_config('pipelines.checked', home, false), set_config('pipelines.move_at_work', this_move, false),
            set_config('pipelines.lock_timeout', greatest(1000::numeric * extract(epoch FROM least(
                coalesce(nullif(current_setting('lock_timeout'), '0'), '500ms')::interval,
                current_setting('deadlock_timeout')::interval / 2::float8)), 1::numeric)::int::text, false);
END
$settings$;

-- 2. Where each column has to go. Without 05 nothing has to: a temporary table of the same name takes the indexes below.
DO $plan$
DECLARE
    in_the_way text;
BEGIN
    IF coalesce(current_setting('pipelines.checked', true), '') = '' THEN
        RAISE EXCEPTION 'the step before this one failed' USING HINT = 'Nothing was changed. Put that right, then run this again.';
    END IF;
    PERFORM set_config('pipelines.home', current_setting('pipelines.checked'), false);
    IF to_regclass('pipelines_migrations.changed_column') IS NULL THEN
        CREATE TEMP TABLE stages (
            pipelines_new_stage_selection_template_id uuid, pipelines_new_data_extraction_template_id uuid,
            pipelines_new_response_generation_template_id uuid, pipelines_new_selection_template_id uuid,
            pipelines_new_extraction_template_id uuid, pipelines_new_response_template_id uuid);
        RETURN;
    END IF;
    UPDATE pipelines_migrations.changed_column SET wanted_type = old_type;
    SELECT string_agg(what, ', ') INTO in_the_way FROM pipelines_migrations.obstacle;
    IF in_the_way IS NOT NULL THEN
        RAISE EXCEPTION 'these stand in the way of the old columns in stages: %', in_the_way
            USING HINT = 'Nothing was changed. Take them away, and put them back after the way back.';
    END IF;
    CALL pipelines_migrations.add_new_columns();
END
$plan$;

-- 3. The values and the indexes.
DO $values$
BEGIN
    IF to_regproc('pipelines_migrations.copy_values') IS NOT NULL THEN
        CALL pipelines_migrations.copy_values();
    END IF;
END
$values$;
DO $invalid$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT i.indexrelid::regclass AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
               WHERE i.indrelid = to_regclass(current_setting('pipelines.home') || '.stages') AND NOT i.indisvalid AND c.relname LIKE 'pipelines\_new\_idx\_%'
    LOOP
        EXECUTE format('DROP INDEX %s', one.name);
    END LOOP;
END
$invalid$;
SET lock_timeout = 0; -- what waits here makes nobody else wait
-- The names of the application without its schema, those of temporary tables before them, for statements that call nothing.
DO $path$
BEGIN
    PERFORM set_config('search_path', 'pg_catalog, ' || current_setting('pipelines.home'), false);
END
$path$;
DO $$ BEGIN
    IF pg_catalog.to_regproc('pipelines_migrations.stand_in') IS NOT NULL THEN
        CALL pipelines_migrations.stand_in('pipelines_new_stage_selection_template_id');
    END IF;
END $$;
CREATE INDEX CONCURRENTLY IF NOT EXISTS pipelines_new_idx_stage_selection_template_id
ON stages (pipelines_new_stage_selection_template_id);
DO $$ BEGIN
    IF pg_catalog.to_regproc('pipelines_migrations.stand_in') IS NOT NULL THEN
        CALL pipelines_migrations.stand_in('pipelines_new_data_extraction_template_id');
    END IF;
END $$;
CREATE INDEX CONCURRENTLY IF NOT EXISTS pipelines_new_idx_data_extraction_template_id
ON stages (pipelines_new_data_extraction_template_id);
DO $$ BEGIN
    IF pg_catalog.to_regproc('pipelines_migrations.stand_in') IS NOT NULL THEN
        CALL pipelines_migrations.stand_in('pipelines_new_response_generation_template_id');
    END IF;
END $$;
CREATE INDEX CONCURRENTLY IF NOT EXISTS pipelines_new_idx_response_generation_template_id
ON stages (pipelines_new_response_generation_template_id);
DO $$ BEGIN
    IF pg_catalog.to_regproc('pipelines_migrations.stand_in') IS NOT NULL THEN
        CALL pipelines_migrations.stand_in('pipelines_new_selection_template_id');
    END IF;
END $$;
CREATE INDEX CONCURRENTLY IF NOT EXISTS pipelines_new_idx_selection_template_id
ON stages (pipelines_new_selection_template_id);
DO $$ BEGIN
    IF pg_catalog.to_regproc('pipelines_migrations.stand_in') IS NOT NULL THEN
        CALL pipelines_migrations.stand_in('pipelines_new_extraction_template_id');
    END IF;
END $$;
CREATE INDEX CONCURRENTLY IF NOT EXISTS pipelines_new_idx_extraction_template_id
ON stages (pipelines_new_extraction_template_id);
DO $$ BEGIN
    IF pg_catalog.to_regproc('pipelines_migrations.stand_in') IS NOT NULL THEN
        CALL pipelines_migrations.stand_in('pipelines_new_response_template_id');
    END IF;
END $$;
CREATE INDEX CONCURRENTLY IF NOT EXISTS pipelines_new_idx_response_template_id
ON stages (pipelines_new_response_template_id);
-- The temporary one, which nobody else sees.
-- squawk-ignore ban-drop-table
DROP TABLE IF EXISTS pg_temp.stages;
SET search_path = pg_catalog, pg_temp;

-- 4. The proof, then all at once: the old columns, the keys, NOT NULL, and what 05 kept of them.
DO $proof$
BEGIN
    IF to_regproc('pipelines_migrations.prove_values') IS NOT NULL THEN
        CALL pipelines_migrations.prove_values();
    END IF;
END
$proof$;
-- The names of the application without its schema, for statements that call nothing.
DO $path$
BEGIN
    PERFORM set_config('search_path', concat_ws(', ', 'pg_catalog', current_setting('pipelines.home', true), 'pg_temp'), false);
END
$path$;
ANALYZE stages;
SET search_path = pg_catalog, pg_temp;
DO $back$
DECLARE
    home CONSTANT text := current_setting('pipelines.home');
    one  record;
BEGIN
    IF coalesce(current_setting('pipelines.home', true), 'pg_temp') = 'pg_temp' THEN
        RAISE EXCEPTION 'the plan of the way back failed' USING HINT = 'Nothing was changed. The error before this one says why.';
    END IF;
    DELETE FROM pipelines_migrations.applied WHERE number = 5;
    IF to_regclass('pipelines_migrations.changed_column') IS NULL THEN
        RETURN;
    END IF;
    CALL pipelines_migrations.take_lock('stages, templates', 'ACCESS EXCLUSIVE');
    FOR one IN SELECT key_name FROM pipelines_migrations.changed_column WHERE key_name IS NOT NULL LOOP
        EXECUTE format('ALTER TABLE %s.stages DROP CONSTRAINT IF EXISTS %I', home, one.key_name);
    END LOOP;
    CALL pipelines_migrations.swap_columns();
    IF EXISTS (SELECT FROM pipelines_migrations.changed_column WHERE column_name = 'content') THEN
        EXECUTE format('ALTER TABLE %s.templates DROP CONSTRAINT IF EXISTS pipelines_filled_content,'
                       ' ALTER COLUMN content DROP NOT NULL', home);
    END IF;
    DROP VIEW pipelines_migrations.obstacle, pipelines_migrations.column_at_work;
    DROP TABLE pipelines_migrations.changed_column;
    DROP PROCEDURE pipelines_migrations.take_lock(text, text), pipelines_migrations.add_new_columns(),
                   pipelines_migrations.copy_values(), pipelines_migrations.prove_values(),
                   pipelines_migrations.swap_columns(), pipelines_migrations.stand_in(text);
END
$back$;
DO $done$
BEGIN
    PERFORM pg_advisory_unlock(
        (('x' || encode(substring(sha256('table_move') FROM 1 FOR 4), 'hex'))::bit(32)::bigint & 2147483647)::int,
        (('x' || encode(substring(sha256(convert_to('table_move/' || current_setting('pipelines.move_at_work'), 'UTF8'))
                                  FROM 1 FOR 4), 'hex'))::bit(32)::bigint & 2147483647)::int);
END
$done$;

-- The session's own path again.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', coalesce(pg_catalog.current_setting('pipelines.path', true), 'public'), false);
END
$path$;
