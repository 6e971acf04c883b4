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
        PERFORM pg_catalog.set_config('pipelines.given', found, false),
                pg_catalog.set_config('pipelines.path', pg_catalog.current_setting('search_path'), false);
    END IF;
    -- Nothing is found there until the first step has ended well: without ON_ERROR_STOP psql goes on after an error.
    PERFORM pg_catalog.set_config('pipelines.home', 'pg_temp', false);
END
$home$;
SET search_path = pg_catalog, pg_temp;

DO $settings$
DECLARE
    home CONSTANT text := current_setting('pipelines.given', true);
BEGIN
    IF to_regclass(home || '.stages') IS NULL OR to_regclass(home || '.templates') IS NULL THEN
        RAISE EXCEPTION 'there is no stages or no templates in the search_path'
            USING HINT = 'Name the application''s schema: PGOPTIONS=''-c search_path=NAME'', or --schema NAME';
    END IF;
    -- In milliseconds: over before the server looks for a deadlock, so that nobody else ends for our sake.
    PERFORM set_config('lock_timeout', greatest(1000::numeric * extract(epoch FROM least(
        coalesce(nullif(current_setting('lock_timeout'), '0'), '500ms')::interval,
        current_setting('deadlock_timeout')::interval / 2::float8)), 1::numeric)::int::text, false),
            set_config('pipelines.home', home, false);
END
$settings$;

-- Without a default, so that no row is touched. The comment says that the column is ours to take back.
DO $columns$
DECLARE
    of_table   text;
    found_type regtype;
    patience   CONSTANT text := current_setting('lock_timeout');
    home       CONSTANT text := current_setting('pipelines.home');
BEGIN
    -- VACUUM gives way, but only after a while; in this mode nobody else waits behind us.
    SET LOCAL lock_timeout = 0;
    EXECUTE format('LOCK TABLE %1$s.stages, %1$s.templates IN SHARE UPDATE EXCLUSIVE MODE', home);
    PERFORM set_config('lock_timeout', patience, true);
    FOREACH of_table IN ARRAY ARRAY['stages', 'templates'] LOOP
        SELECT atttypid INTO found_type FROM pg_attribute
        WHERE attrelid = to_regclass(home || '.' || of_table) AND attname = 'deleted_at' AND NOT attisdropped;
        IF NOT FOUND THEN
            EXECUTE format('ALTER TABLE %s.%I ADD COLUMN deleted_at timestamptz', home, of_table);
            EXECUTE format('COMMENT ON COLUMN %s.%I.deleted_at IS ''NULL: the row lives. Made by migration 03.''', home, of_table);
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
    home CONSTANT text := current_setting('pipelines.home');
    one  record;
BEGIN
    FOR one IN SELECT indexrelid::regclass AS name FROM pg_index WHERE NOT indisvalid
               AND indexrelid IN (to_regclass(home || '.idx_stages_deleted_at'),
                                  to_regclass(home || '.idx_templates_deleted_at'))
    LOOP
        EXECUTE format('DROP INDEX %s', one.name);
    END LOOP;
END
$invalid$;

-- What waits here makes nobody else wait.
SET lock_timeout = 0;
SET statement_timeout = 0;

-- The names of the application without its schema, for statements that call nothing.
DO $path$
BEGIN
    PERFORM set_config('search_path', concat_ws(', ', 'pg_catalog', current_setting('pipelines.home', true), 'pg_temp'), false);
END
$path$;
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_stages_deleted_at ON stages (business_id, deleted_at)
WHERE deleted_at IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_templates_deleted_at ON templates (business_id, deleted_at)
WHERE deleted_at IS NOT NULL;
SET search_path = pg_catalog, pg_temp;

-- They stay behind, in the application's schema, and run with the rights of whoever calls them. Triggers on the tables need the
-- application's path; nothing in these bodies is found by it: each name has its schema, operators too. The two that the planner
-- opens up take no settings of their own, and call nothing.
DO $functions$
DECLARE
    home     CONSTANT text := current_setting('pipelines.home');
    of_table text;
    body     text;
BEGIN
    FOREACH of_table IN ARRAY ARRAY['stages', 'templates'] LOOP
        EXECUTE format('CREATE OR REPLACE FUNCTION %2$s.living_%1$s() RETURNS SETOF %2$s.%1$s LANGUAGE sql STABLE AS '
                       '$body$ SELECT * FROM %2$s.%1$s WHERE deleted_at IS NULL $body$', of_table, home);
    END LOOP;
    FOREACH body IN ARRAY ARRAY[$body$
CREATE OR REPLACE FUNCTION HOME.soft_delete_template(id uuid) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, HOME, pg_temp AS $$
DECLARE
    of_column text;
    user_id   uuid;
BEGIN
    -- FOR UPDATE: whoever is about to refer to it, under a foreign key, comes before or after.
    PERFORM FROM HOME.templates WHERE template_id OPERATOR(pg_catalog.=) id AND deleted_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    FOR of_column IN
        SELECT attname FROM pg_catalog.pg_attribute
        WHERE attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(LITERAL) AND NOT attisdropped
        AND attname OPERATOR(pg_catalog.=) ANY (ARRAY[
            'stage_selection_template_id', 'data_extraction_template_id', 'response_generation_template_id',
            'selection_template_id', 'extraction_template_id', 'response_template_id']::text[])
    LOOP
        -- A literal without a type: the column may be varchar or uuid, and its index serves both.
        EXECUTE pg_catalog.format('SELECT stage_id FROM %s WHERE %I OPERATOR(pg_catalog.=) %L AND deleted_at IS NULL LIMIT 1',
                                  LITERAL, of_column, id) INTO user_id;
        IF user_id IS NOT NULL THEN
            RAISE EXCEPTION 'stage % refers to template % in %', user_id, id, of_column
                USING ERRCODE = 'foreign_key_violation', HINT = 'Give the stage another template, or delete it first.';
        END IF;
    END LOOP;
    UPDATE HOME.templates SET deleted_at = pg_catalog.clock_timestamp() WHERE template_id OPERATOR(pg_catalog.=) id;
    RETURN true;
END
$$
$body$, $body$
CREATE OR REPLACE FUNCTION HOME.restore_template(id uuid) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, HOME, pg_temp AS $$
BEGIN
    UPDATE HOME.templates SET deleted_at = NULL WHERE template_id OPERATOR(pg_catalog.=) id AND deleted_at IS NOT NULL;
    RETURN FOUND;
END
$$
$body$, $body$
CREATE OR REPLACE FUNCTION HOME.soft_delete_stage(id uuid) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, HOME, pg_temp AS $$
BEGIN
    UPDATE HOME.stages SET deleted_at = pg_catalog.clock_timestamp()
    WHERE stage_id OPERATOR(pg_catalog.=) id AND deleted_at IS NULL;
    RETURN FOUND;
END
$$
$body$, $body$
CREATE OR REPLACE FUNCTION HOME.restore_stage(id uuid) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, HOME, pg_temp AS $$
DECLARE
    used uuid[];
    gone text;
BEGIN
    PERFORM FROM HOME.stages WHERE stage_id OPERATOR(pg_catalog.=) id AND deleted_at IS NOT NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    used := ARRAY(
        SELECT r.value::uuid FROM HOME.stages s
        CROSS JOIN LATERAL pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(s)) AS r (name, value)
        WHERE s.stage_id OPERATOR(pg_catalog.=) id AND r.name OPERATOR(pg_catalog.~~) '%\_template\_id'
          AND r.value OPERATOR(pg_catalog.~) '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$');
    SELECT pg_catalog.string_agg(t.template_id::text, ', ') INTO gone
    FROM (SELECT template_id, deleted_at FROM HOME.templates WHERE template_id OPERATOR(pg_catalog.=) ANY (used)
          ORDER BY 1 FOR KEY SHARE) t
    WHERE t.deleted_at IS NOT NULL;
    IF gone IS NOT NULL THEN
        RAISE EXCEPTION 'stage % refers to deleted templates: %', id, gone
            USING ERRCODE = 'foreign_key_violation', HINT = 'Restore them first: SELECT restore_template(…)';
    END IF;
    UPDATE HOME.stages SET deleted_at = NULL WHERE stage_id OPERATOR(pg_catalog.=) id;
    RETURN true;
END
$$
$body$] LOOP
        EXECUTE replace(replace(body, 'LITERAL', quote_literal(home || '.stages')), 'HOME', home);
    END LOOP;
END
$functions$;

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
    home    CONSTANT text := coalesce(current_setting('pipelines.home', true), 'pg_temp');
    missing text;
BEGIN
    IF home = 'pg_temp' THEN
        RAISE EXCEPTION 'not everything of this file is there: its first step failed'
            USING HINT = 'The error before this one says why. Put that right, then run this again.';
    END IF;
    SELECT string_agg(what, ', ') INTO missing FROM (
        SELECT w.of_table || '.deleted_at as timestamptz' AS what FROM (VALUES ('stages'), ('templates')) AS w (of_table)
        WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(home || '.' || w.of_table) AND attname = 'deleted_at'
                          AND NOT attisdropped AND atttypid = 'timestamptz'::regtype)
        UNION ALL
        SELECT w.name FROM (VALUES ('idx_stages_deleted_at', 'stages'), ('idx_templates_deleted_at', 'templates'))
               AS w (name, of_table)
        WHERE NOT EXISTS (
            SELECT FROM pg_index i WHERE i.indexrelid = to_regclass(home || '.' || w.name) AND i.indrelid = to_regclass(home || '.' || w.of_table)
            AND i.indisvalid AND i.indpred IS NOT NULL AND ARRAY['business_id', 'deleted_at'] = ARRAY(
                SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indexrelid ORDER BY a.attnum))
        UNION ALL
        SELECT name FROM unnest(ARRAY['living_stages()', 'living_templates()', 'soft_delete_stage(uuid)', 'restore_stage(uuid)',
                                      'soft_delete_template(uuid)', 'restore_template(uuid)']) AS name
        WHERE to_regprocedure(home || '.' || name) IS NULL
    ) AS wanted;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'not everything of this file is there: %', missing
            USING HINT = 'The error before this one says why. Put that right, then run this again.';
    END IF;
    INSERT INTO pipelines_migrations.applied (number, name) VALUES (3, '03_soft_delete') ON CONFLICT DO NOTHING;
END
$proof$;

-- The session's own path again.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', coalesce(pg_catalog.current_setting('pipelines.path', true), 'public'), false);
END
$path$;
