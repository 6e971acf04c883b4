-- transactional: false
-- 03: soft delete for templates and stages.
--
-- What it does   A column deleted_at (NULL: the row lives), a small index over the deleted rows, and functions:
--                    SELECT * FROM living_templates() WHERE business_id = …     the same of living_stages()
--                    SELECT soft_delete_template(ID)    false where nothing lives under this id; refused while a living
--                                                       stage refers to it
--                    SELECT restore_template(ID)        false where nothing deleted is there
--                    SELECT soft_delete_stage(ID), restore_stage(ID)   refused while one of its templates is deleted
--                Functions and not views: a view would fix the types of its columns, which 05 changes, and would read with
--                the rights of its owner. The planner puts them into the query as a view, with its indexes.
--                Foreign keys  A deleted row still stands: every key to it holds, a stage that took up a template at the
--                              moment of its deletion keeps it, and a deleted business takes its deleted rows along.
--                The move      The templates move treats references of deleted stages like any other, and deleted templates too:
--                              an old row that equals one is adopted by it. Restore it, or delete it for good, before.
--                Uniqueness    A deleted row keeps its id and its place in every unique index, so that a restore never
--                              finds it taken. Where a name is to be free again, make its index partial: WHERE deleted_at
--                              IS NULL. There is no second index over the living rows: it would cost every write, and find
--                              what that of 02 finds.
-- Locks          ACCESS EXCLUSIVE on stages and templates for the columns, for a moment, and awaited for lock_timeout at most
--                (500ms unless yours is set); the indexes as in 02, beside readers and writers.
-- Time           1.5 s for 1,000,000 stages and 1,000,000 templates on two cores. In two runs a query beside it took 9 ms at
--                most, a write of one row 13 ms; neither can take more than lock_timeout longer than usual.
-- Going back     03_soft_delete.rollback.sql
--
-- Not in a transaction: psql -X -v ON_ERROR_STOP=1 -f, without -1. Interrupted: run it again.

SET client_min_messages = warning;

-- Without ON_ERROR_STOP psql goes on after an error: then it finds no table in this path, and changes nothing.
DO $path$
BEGIN
    IF current_setting('search_path') <> 'pg_temp' THEN
        PERFORM set_config('pipelines.given_path', current_setting('search_path'), false);
    END IF;
    PERFORM set_config('search_path', 'pg_temp', false);
END
$path$;

-- From here the names of this file are those of the schema in which stages is found, and each lock is awaited for a while.
DO $settings$
DECLARE
    home text;
BEGIN
    PERFORM set_config('search_path', current_setting('pipelines.given_path'), true);
    SELECT n.nspname INTO home FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = to_regclass('stages') AND to_regclass('templates') IS NOT NULL;
    IF home IS NULL THEN
        RAISE EXCEPTION 'there is no stages or no templates in the search_path'
            USING HINT = 'Name the application''s schema: PGOPTIONS=''-c search_path=NAME'', or --schema NAME';
    END IF;
    PERFORM set_config('search_path', format('%I, pg_temp', home), false);
    -- In milliseconds: over before the server looks for a deadlock, so that nobody else ends for our sake.
    PERFORM set_config('lock_timeout', greatest(1000::numeric * extract(epoch FROM least(
        coalesce(nullif(current_setting('lock_timeout'), '0'), '500ms')::interval,
        current_setting('deadlock_timeout')::interval / 2::float8)), 1::numeric)::int::text, false);
END
$settings$;

-- Without a default, so that no row is touched. The comment says that the column is ours to take back.
DO $columns$
DECLARE
    of_table   text;
    found_type regtype;
    patience   CONSTANT text := current_setting('lock_timeout');
BEGIN
    -- VACUUM gives way, but only after a while; in this mode nobody else waits behind us.
    SET LOCAL lock_timeout = 0;
    LOCK TABLE stages, templates IN SHARE UPDATE EXCLUSIVE MODE;
    PERFORM set_config('lock_timeout', patience, true);
    FOREACH of_table IN ARRAY ARRAY['stages', 'templates'] LOOP
        SELECT atttypid INTO found_type FROM pg_attribute
        WHERE attrelid = of_table::regclass AND attname = 'deleted_at' AND NOT attisdropped;
        IF NOT FOUND THEN
            EXECUTE format('ALTER TABLE %I ADD COLUMN deleted_at timestamptz', of_table);
            EXECUTE format('COMMENT ON COLUMN %I.deleted_at IS ''NULL: the row lives. Made by migration 03.''', of_table);
        ELSIF found_type <> 'timestamptz'::regtype THEN
            RAISE EXCEPTION '%.deleted_at is there and is %, not timestamptz', of_table, found_type
                USING HINT = 'Give the column this type or another name, then run this again.';
        END IF;
    END LOOP;
END
$columns$;

-- What an interrupted build left behind.
DO $invalid$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT indexrelid::regclass AS name FROM pg_index WHERE NOT indisvalid
               AND indexrelid IN (to_regclass('idx_stages_deleted_at'), to_regclass('idx_templates_deleted_at'))
    LOOP
        EXECUTE format('DROP INDEX %s', one.name);
    END LOOP;
END
$invalid$;

-- What waits here makes nobody else wait.
SET lock_timeout = 0;
SET statement_timeout = 0;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_stages_deleted_at ON stages (business_id, deleted_at)
WHERE deleted_at IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_templates_deleted_at ON templates (business_id, deleted_at)
WHERE deleted_at IS NOT NULL;

-- The two that the planner opens up take no settings of their own, hence the full names.
DO $living$
DECLARE
    of_table text;
BEGIN
    FOREACH of_table IN ARRAY ARRAY['stages', 'templates'] LOOP
        EXECUTE format('CREATE OR REPLACE FUNCTION living_%1$s() RETURNS SETOF %1$s LANGUAGE sql STABLE AS '
                       '$body$ SELECT * FROM %2$I.%1$s WHERE deleted_at IS NULL $body$', of_table, current_schema);
    END LOOP;
END
$living$;

CREATE OR REPLACE FUNCTION soft_delete_template(id uuid) RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    of_column text;
    user_id   uuid;
BEGIN
    -- FOR UPDATE: whoever is about to refer to it, under a foreign key, comes before or after.
    PERFORM FROM templates WHERE template_id = id AND deleted_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    FOR of_column IN
        SELECT attname FROM pg_attribute WHERE attrelid = 'stages'::regclass AND NOT attisdropped AND attname = ANY (ARRAY[
            'stage_selection_template_id', 'data_extraction_template_id', 'response_generation_template_id',
            'selection_template_id', 'extraction_template_id', 'response_template_id'])
    LOOP
        -- A literal without a type: the column may be varchar or uuid, and its index serves both.
        EXECUTE format('SELECT stage_id FROM stages WHERE %I = %L AND deleted_at IS NULL LIMIT 1', of_column, id) INTO user_id;
        IF user_id IS NOT NULL THEN
            RAISE EXCEPTION 'stage % refers to template % in %', user_id, id, of_column
                USING ERRCODE = 'foreign_key_violation', HINT = 'Give the stage another template, or delete it first.';
        END IF;
    END LOOP;
    UPDATE templates SET deleted_at = clock_timestamp() WHERE template_id = id;
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION restore_template(id uuid) RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE templates SET deleted_at = NULL WHERE template_id = id AND deleted_at IS NOT NULL;
    RETURN FOUND;
END
$$;

CREATE OR REPLACE FUNCTION soft_delete_stage(id uuid) RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE stages SET deleted_at = clock_timestamp() WHERE stage_id = id AND deleted_at IS NULL;
    RETURN FOUND;
END
$$;

CREATE OR REPLACE FUNCTION restore_stage(id uuid) RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    used uuid[];
    gone text;
BEGIN
    PERFORM FROM stages WHERE stage_id = id AND deleted_at IS NOT NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    used := ARRAY(
        SELECT r.value::uuid FROM stages s CROSS JOIN LATERAL jsonb_each_text(to_jsonb(s)) AS r (name, value)
        WHERE s.stage_id = id AND r.name LIKE '%\_template\_id' AND r.value ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$');
    SELECT string_agg(template_id::text, ', ') INTO gone
    FROM (SELECT template_id, deleted_at FROM templates WHERE template_id = ANY (used) ORDER BY 1 FOR KEY SHARE) t
    WHERE deleted_at IS NOT NULL;
    IF gone IS NOT NULL THEN
        RAISE EXCEPTION 'stage % refers to deleted templates: %', id, gone
            USING ERRCODE = 'foreign_key_violation', HINT = 'Restore them first: SELECT restore_template(…)';
    END IF;
    UPDATE stages SET deleted_at = NULL WHERE stage_id = id;
    RETURN true;
END
$$;

CREATE SCHEMA IF NOT EXISTS pipelines_migrations;
CREATE TABLE IF NOT EXISTS pipelines_migrations.applied (
    number     bigint PRIMARY KEY,
    name       text NOT NULL,
    sha256     text,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT session_user
);
-- Only what stands is recorded.
DO $proof$
DECLARE
    missing text;
BEGIN
    SELECT string_agg(what, ', ') INTO missing FROM (
        SELECT w.of_table || '.deleted_at as timestamptz' AS what FROM (VALUES ('stages'), ('templates')) AS w (of_table)
        WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(w.of_table) AND attname = 'deleted_at'
                          AND NOT attisdropped AND atttypid = 'timestamptz'::regtype)
        UNION ALL
        SELECT w.name FROM (VALUES ('idx_stages_deleted_at', 'stages'), ('idx_templates_deleted_at', 'templates'))
               AS w (name, of_table)
        WHERE NOT EXISTS (
            SELECT FROM pg_index i WHERE i.indexrelid = to_regclass(w.name) AND i.indrelid = to_regclass(w.of_table)
            AND i.indisvalid AND i.indpred IS NOT NULL AND ARRAY['business_id', 'deleted_at'] = ARRAY(
                SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indexrelid ORDER BY a.attnum))
        UNION ALL
        SELECT name FROM unnest(ARRAY['living_stages()', 'living_templates()', 'soft_delete_stage(uuid)', 'restore_stage(uuid)',
                                      'soft_delete_template(uuid)', 'restore_template(uuid)']) AS name
        WHERE to_regprocedure(quote_ident(current_schema) || '.' || name) IS NULL
    ) AS wanted;
    IF missing IS NOT NULL OR current_schema IS NULL THEN
        RAISE EXCEPTION 'not everything of this file is there: %', missing
            USING HINT = 'The error before this one says why. Put that right, then run this again.';
    END IF;
    INSERT INTO pipelines_migrations.applied (number, name) VALUES (3, '03_soft_delete') ON CONFLICT DO NOTHING;
END
$proof$;
