-- transactional: false
-- 02, back: the indexes leave, while the application goes on.
--
-- What it does   Drops the four indexes of 02. Queries are right without them, and slower.
-- Locks          SHARE UPDATE EXCLUSIVE on stages and templates; waits for open transactions, and lets everybody pass.
-- Time           Moments, once the transactions that were open have ended.
-- Going back     02_index_frequent_queries.sql

SET lock_timeout = 0;
SET statement_timeout = 0;
SET client_min_messages = warning;

DELETE FROM pipelines_migrations.applied WHERE number = 2;

DROP INDEX CONCURRENTLY IF EXISTS idx_templates_business_id_template_type;
DROP INDEX CONCURRENTLY IF EXISTS idx_stages_response_generation_template_id;
DROP INDEX CONCURRENTLY IF EXISTS idx_stages_data_extraction_template_id;
DROP INDEX CONCURRENTLY IF EXISTS idx_stages_stage_selection_template_id;

DO $proof$
DECLARE
    left_over text;
BEGIN
    SELECT string_agg(c.relname, ', ') INTO left_over FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid IN (to_regclass('stages'), to_regclass('templates'))
      AND c.relname IN ('idx_stages_stage_selection_template_id', 'idx_stages_data_extraction_template_id',
                        'idx_stages_response_generation_template_id', 'idx_templates_business_id_template_type');
    IF left_over IS NOT NULL THEN
        RAISE EXCEPTION 'these indexes are still there: %', left_over USING HINT = 'The error before this one says why. '
            'Run this again, or 02.';
    END IF;
END
$proof$;
