-- transactional: false
-- 02, back: the indexes leave, while the application goes on.
--
-- What it does   Drops the four indexes of 02. Queries are right without them, and slower.
-- Locks          SHARE UPDATE EXCLUSIVE on stages and templates; waits for open transactions, and lets everybody pass.
-- Time           Moments, once the transactions that were open have ended.
-- Going back     02_index_frequent_queries.sql

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

SET lock_timeout = 0;
SET statement_timeout = 0;
SET client_min_messages = warning;

DELETE FROM pipelines_migrations.applied WHERE number = 2;

-- The names of the application without its schema, for statements that call nothing.
DO $path$
BEGIN
    PERFORM set_config('search_path', concat_ws(', ', 'pg_catalog', current_setting('pipelines.home', true), 'pg_temp'), false);
END
$path$;
DROP INDEX CONCURRENTLY IF EXISTS idx_templates_business_id_template_type;
DROP INDEX CONCURRENTLY IF EXISTS idx_stages_response_generation_template_id;
DROP INDEX CONCURRENTLY IF EXISTS idx_stages_data_extraction_template_id;
DROP INDEX CONCURRENTLY IF EXISTS idx_stages_stage_selection_template_id;
SET search_path = pg_catalog, pg_temp;

DO $proof$
DECLARE
    home      CONSTANT text := current_setting('pipelines.home', true);
    left_over text;
BEGIN
    SELECT string_agg(c.relname, ', ') INTO left_over FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid IN (to_regclass(home || '.stages'), to_regclass(home || '.templates'))
      AND c.relname IN ('idx_stages_stage_selection_template_id', 'idx_stages_data_extraction_template_id',
                        'idx_stages_response_generation_template_id', 'idx_templates_business_id_template_type');
    IF left_over IS NOT NULL THEN
        RAISE EXCEPTION 'these indexes are still there: %', left_over USING HINT = 'The error before this one says why. '
            'Run this again, or 02.';
    END IF;
END
$proof$;

-- The session's own path again.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', coalesce(pg_catalog.current_setting('pipelines.path', true), 'public'), false);
END
$path$;
