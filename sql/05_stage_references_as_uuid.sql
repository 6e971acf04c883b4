-- transactional: false
-- 05: the references of stages become uuid, with foreign keys to templates, while the application goes on.
--
-- What it does   Each of the columns stage_selection_template_id, data_extraction_template_id, response_generation_template_id
--                and, where they are there, selection_template_id, extraction_template_id, response_template_id:
--                varchar becomes uuid, with the index it had; where no valid foreign key to templates is there, one is made.
--                A column that is uuid already stays as it is and gets the key only.
--                NOT NULL  templates.content, where the installation left it nullable and no row is NULL: the application's
--                          own schema has it so. The references stay nullable, whatever they hold today: a stage
--                          may do without a template. A reference that is NOT NULL already stays so.
--                Stops before anything is changed  while the templates move is in the middle; where a value is not the id of a
--                          template (old ids: make the move first); where something depends on a column that has to change (a
--                          view, a policy, a constraint, an index on more than it …).
--                Afterwards the changed columns are the last of the table. A query that compares them with a parameter sent as
--                text has to say ::uuid; sessions that keep prepared statements over them get one error and have to prepare
--                them again.
-- How            A new column is kept equal by a trigger and a constraint, filled in batches of some 500 rows that are
--                committed each and leave out locked rows, indexed, given its key, proven, and put in the old one's place.
--                A value that is not a template's id is refused from the trigger on.
-- Locks          ACCESS EXCLUSIVE on stages and templates for a moment each (columns, NOT NULL, swap), SHARE ROW EXCLUSIVE on
--                both for a moment for each key: awaited for lock_timeout at most (500ms unless yours is set)
--                and tried again for a minute. Rows of a batch: for the batch. Everything else beside readers and writers.
-- Time           135 s for 1,000,000 stages with three references each, and the indexes and triggers of 02 to 04, on two cores;
--                the way back 106 s. In two runs of both a query took 0.12 s at most, a write of one row 0.17 s, on the way back
--                0.22 s; 99.9 % of the queries took 4 ms, of the writes 19 ms. On cores with four times as much to do: 303 s,
--                0.42 s and 0.53 s. None waits longer for a lock than lock_timeout.
--                Every row is written once, so that stages is about twice as large until it was vacuumed and filled again.
-- Going back     05_stage_references_as_uuid.rollback.sql, from wherever this file stands. The `rollback` of the move comes
--                after that. That 05 is up, or on its way, is told by the table pipelines_migrations.changed_column.
--
-- Not in a transaction: psql -X -v ON_ERROR_STOP=1 -f, without -1. Interrupted: run it again.

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

-- 2. What has to change, and what stands in the way. One transaction: where it raises, nothing was changed.
DO $plan$
DECLARE
    home       CONSTANT text := nullif(current_setting('pipelines.checked', true), '');
    this_move  CONSTANT text := current_setting('pipelines.move_at_work', true);
    stages     CONSTANT regclass := home || '.stages';
    templates  CONSTANT regclass := home || '.templates';
    found_text text;
    in_the_way text;
    found_rows bigint;
    one        record;
BEGIN
    IF coalesce(current_setting('pipelines.checked', true), '') = '' THEN
        RAISE EXCEPTION 'the step before this one failed' USING HINT = 'Nothing was changed. Put that right, then run this again.';
    END IF;
    PERFORM set_config('pipelines.home', current_setting('pipelines.checked'), false);
    SELECT string_agg(relname, ' and ') INTO found_text FROM pg_class
    WHERE oid IN (stages, templates) AND NOT pg_has_role(relowner, 'USAGE');
    IF found_text IS NOT NULL THEN
        RAISE EXCEPTION 'must be owner of %', found_text USING ERRCODE = 'insufficient_privilege', HINT = 'Nothing was changed.';
    END IF;
    IF to_regclass('pipelines.move') IS NOT NULL THEN
        SELECT milestone INTO found_text FROM pipelines.move
        WHERE move = this_move AND milestone IN ('copying', 'switched', 'retired');
        IF FOUND THEN
            RAISE EXCEPTION 'the move % is in the middle (it is at: %)', this_move, found_text
                USING HINT = 'Nothing was changed. Finish it first: python -m pipelines.templates run (or rollback)';
        END IF;
    END IF;

    CREATE SCHEMA IF NOT EXISTS pipelines_migrations;
    CREATE TABLE IF NOT EXISTS pipelines_migrations.applied (
        number     bigint PRIMARY KEY,
        name       text NOT NULL,
        sha256     text,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        applied_by text NOT NULL DEFAULT session_user
    );
    CREATE TABLE IF NOT EXISTS pipelines_migrations.changed_column (
        table_name  text NOT NULL,
        column_name text NOT NULL,
        old_type    text NOT NULL,
        wanted_type text NOT NULL,
        is_not_null boolean NOT NULL,
        index_name  text,
        key_name    text,
        comment     text,
        PRIMARY KEY (table_name, column_name)
    );
    COMMENT ON TABLE pipelines_migrations.changed_column IS
        'What 05 changed or is changing: the column as it was, its index, and the foreign key that 05 made.';
    -- What is on its way: the columns that do not have their wanted type yet.
    CREATE OR REPLACE VIEW pipelines_migrations.column_at_work AS
    SELECT c.column_name, c.wanted_type, c.is_not_null, c.index_name, c.key_name, c.comment, a.attrelid, a.attnum,
           'pipelines_new_' || c.column_name AS new_name, 'pipelines_new_idx_' || c.column_name AS new_index,
           'pipelines_same_' || c.column_name AS same_check, 'pipelines_filled_' || c.column_name AS filled_check
    FROM pipelines_migrations.changed_column c
    JOIN pg_attribute a ON a.attrelid = to_regclass(c.table_name) AND a.attname = c.column_name AND NOT a.attisdropped
    WHERE format_type(a.atttypid, a.atttypmod) <> c.wanted_type;

    -- What depends on these columns, or is more than their type.
    CREATE OR REPLACE VIEW pipelines_migrations.obstacle AS
    SELECT 'stages is no plain table' AS what FROM pg_class WHERE oid = to_regclass(current_setting('pipelines.home') || '.stages') AND relkind <> 'r'
    UNION ALL
    SELECT format('%I is %s', c.column_name, c.old_type) FROM pipelines_migrations.changed_column c
    WHERE c.table_name LIKE '%.stages' AND c.old_type !~ '^(character varying(\(\d+\))?|text|uuid)$'
    UNION ALL
    SELECT format('%I has %s', w.column_name, CASE WHEN a.atthasdef THEN 'a default' WHEN a.attacl IS NOT NULL
                  THEN 'grants of its own' ELSE 'a collation of its own' END)
    FROM pipelines_migrations.column_at_work w JOIN pg_attribute a USING (attrelid, attnum)
    WHERE a.atthasdef OR a.attacl IS NOT NULL OR a.attcollation NOT IN (0, 'pg_catalog."default"'::regcollation)
    UNION ALL
    SELECT DISTINCT format('%s (%I)', pg_describe_object(d.classid, d.objid, 0), w.column_name)
    FROM pipelines_migrations.column_at_work w
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = w.attrelid AND d.refobjsubid = w.attnum
    LEFT JOIN pg_class x ON d.classid = 'pg_class'::regclass AND x.oid = d.objid
    LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
    WHERE (x.relname = w.index_name) IS NOT TRUE
      AND (k.contype = 'n' OR k.conname IN (w.same_check, w.filled_check, w.key_name)) IS NOT TRUE  -- n: NOT NULL, in 18
    UNION ALL
    SELECT format('constraint %I', k.conname) FROM pipelines_migrations.changed_column c
    JOIN pg_constraint k ON k.conrelid = to_regclass(c.table_name) AND k.conname = c.key_name
    WHERE k.contype <> 'f' OR k.confrelid <> to_regclass(current_setting('pipelines.home') || '.templates');

    -- The line of a column that is there already keeps what the column was before.
    INSERT INTO pipelines_migrations.changed_column
    SELECT home || '.stages', a.attname, format_type(a.atttypid, a.atttypmod), 'uuid', a.attnotnull, NULL,
           CASE WHEN k.oid IS NULL THEN format('stages_%s_fkey', a.attname) END, col_description(a.attrelid, a.attnum)
    FROM pg_attribute a LEFT JOIN pg_constraint k
         ON k.conrelid = a.attrelid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum] AND k.confrelid = templates
    WHERE a.attrelid = stages AND NOT a.attisdropped AND a.attname = ANY (ARRAY[
        'stage_selection_template_id', 'data_extraction_template_id', 'response_generation_template_id',
        'selection_template_id', 'extraction_template_id', 'response_template_id'])
      AND (a.atttypid <> 'uuid'::regtype OR k.convalidated IS NOT TRUE)
    ON CONFLICT DO NOTHING;
    UPDATE pipelines_migrations.changed_column SET wanted_type = 'uuid' WHERE table_name LIKE '%.stages';
    UPDATE pipelines_migrations.changed_column c SET index_name = x.relname
    FROM pipelines_migrations.column_at_work w JOIN pg_index i ON i.indrelid = w.attrelid AND i.indisvalid
    JOIN pg_class x ON x.oid = i.indexrelid
    WHERE c.column_name = w.column_name AND c.index_name IS NULL AND pg_get_indexdef(i.indexrelid) = format(
        'CREATE INDEX %I ON %s.stages USING btree (%I)', x.relname, home, w.column_name);

    SELECT string_agg(what, ', ') INTO in_the_way FROM pipelines_migrations.obstacle;
    IF in_the_way IS NOT NULL THEN
        RAISE EXCEPTION 'these stand in the way of uuid columns in stages: %', in_the_way
            USING HINT = 'Nothing was changed. Take them away, and put them back after 05. A foreign key to prompt_templates '
                         'leaves with the move: python -m pipelines.templates run';
    END IF;

    FOR one IN
        SELECT c.column_name FROM pipelines_migrations.changed_column c
        LEFT JOIN pg_constraint k ON k.conrelid = stages AND k.conname = c.key_name AND k.convalidated
        WHERE c.table_name LIKE '%.stages' AND k.oid IS NULL ORDER BY 1
    LOOP
        -- CASE, because the cast raises for anything that is not a UUID; only its own spelling is one that comes back.
        EXECUTE format(
            'SELECT count(*), min(format(''stage %%s, %1$s = %%L'', r.stage_id, r.value)) FROM ('
            ' SELECT stage_id, %1$I::text AS value, CASE WHEN %1$I::text LIKE ''________-____-____-____-____________'''
            ' AND translate(%1$I::text, ''0123456789abcdef'', '''') = ''----'' THEN %1$I::text::uuid END AS id'
            ' FROM %2$s.stages WHERE %1$I IS NOT NULL OFFSET 0) r LEFT JOIN %2$s.templates t ON t.template_id = r.id'
            ' WHERE t.template_id IS NULL', one.column_name, home) INTO found_rows, found_text;
        IF found_rows > 0 THEN
            RAISE EXCEPTION '% references are not the id of a template, for example %', found_rows, found_text
                USING HINT = 'Nothing was changed. Old ids: make the move first (python -m pipelines.templates run). Else put '
                             'them right or set them to NULL, and run this again.';
        END IF;
    END LOOP;

    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = templates AND attname = 'content' AND NOT attnotnull) THEN
        EXECUTE format('SELECT count(*) FROM %s.templates WHERE content IS NULL', home) INTO found_rows;
        IF found_rows > 0 THEN
            RAISE WARNING 'templates.content is NULL in % rows and stays nullable.', found_rows;
        ELSE
            INSERT INTO pipelines_migrations.changed_column (table_name, column_name, old_type, wanted_type, is_not_null)
            VALUES (home || '.templates', 'content', 'text', 'text', false) ON CONFLICT DO NOTHING;
        END IF;
    END IF;
END
$plan$;

-- 3. The steps, as procedures that the way back uses as well.

-- A lock that makes others wait is awaited for lock_timeout only, then everybody passes, and it is tried again.
-- To set lock_timeout is what it is for.
-- squawk-ignore require-lock-timeout
CREATE OR REPLACE PROCEDURE pipelines_migrations.take_lock(tables text, mode text) LANGUAGE plpgsql AS $$
DECLARE
    until CONSTANT timestamptz := clock_timestamp() + interval '1 minute';
    named CONSTANT text := (SELECT string_agg(current_setting('pipelines.home') || '.' || btrim(name), ', ')
                            FROM string_to_table(tables, ',') name);
BEGIN
    -- VACUUM gives way, but only after a while; in this mode nobody else waits behind us.
    PERFORM set_config('lock_timeout', '0', false);
    EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE', named);
    PERFORM set_config('lock_timeout', current_setting('pipelines.lock_timeout'), false);
    LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %s IN %s MODE', named, mode);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() > until THEN
                RAISE EXCEPTION 'a lock on % was not to be had within a minute', tables USING ERRCODE = 'lock_not_available',
                    HINT = 'What was done stays and does no harm. Run the same file again in a quieter moment.';
            END IF;
            PERFORM pg_sleep(0.2 + random());
        END;
    END LOOP;
END
$$;

-- The new columns, and what keeps them equal from their first moment on.
CREATE OR REPLACE PROCEDURE pipelines_migrations.add_new_columns() LANGUAGE plpgsql AS $$
DECLARE
    home        CONSTANT text := current_setting('pipelines.home');
    stages      CONSTANT regclass := home || '.stages';
    assignments text;
    one         record;
BEGIN
    IF NOT EXISTS (SELECT FROM pipelines_migrations.column_at_work) AND NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = stages AND attname LIKE 'pipelines\_new\_%' AND NOT attisdropped)
    THEN
        RETURN;
    END IF;
    CALL pipelines_migrations.take_lock('stages, templates', 'ACCESS EXCLUSIVE');
    EXECUTE format('DROP TRIGGER IF EXISTS pipelines_new_columns ON %s.stages', home);
    FOR one IN  -- of the way in the other direction, where that was interrupted
        SELECT a.attname FROM pg_attribute a WHERE a.attrelid = stages AND a.attname LIKE 'pipelines\_new\_%'
        AND NOT a.attisdropped AND NOT EXISTS (SELECT FROM pipelines_migrations.column_at_work w WHERE w.new_name = a.attname
                                               AND w.wanted_type = format_type(a.atttypid, a.atttypmod))
    LOOP
        EXECUTE format('ALTER TABLE %s.stages DROP COLUMN %I', home, one.attname);
    END LOOP;
    FOR one IN SELECT * FROM pipelines_migrations.column_at_work ORDER BY attnum LOOP
        EXECUTE format('ALTER TABLE %s.stages ADD COLUMN IF NOT EXISTS %I %s', home, one.new_name, one.wanted_type);
        EXECUTE format('ALTER TABLE %s.stages DROP CONSTRAINT IF EXISTS %I, DROP CONSTRAINT IF EXISTS %I',
                       home, one.same_check, one.filled_check);
        EXECUTE format('ALTER TABLE %s.stages ADD CONSTRAINT %I CHECK (%I::text IS NOT DISTINCT FROM %I::text) NOT VALID',
                       home, one.same_check, one.new_name, one.column_name);
        IF one.is_not_null THEN
            EXECUTE format('ALTER TABLE %s.stages ADD CONSTRAINT %I CHECK (%I IS NOT NULL) NOT VALID',
                           home, one.filled_check, one.new_name);
        END IF;
    END LOOP;
    SELECT string_agg(format('NEW.%I := NEW.%I;', new_name, column_name), ' ') INTO assignments
    FROM pipelines_migrations.column_at_work;
    IF assignments IS NOT NULL THEN
        EXECUTE format('CREATE OR REPLACE FUNCTION pipelines_migrations.fill_new_columns() RETURNS trigger LANGUAGE plpgsql'
                       ' AS $body$ BEGIN %s RETURN NEW; END $body$', assignments);
        EXECUTE format('CREATE TRIGGER pipelines_new_columns BEFORE INSERT OR UPDATE ON %s.stages'
                       ' FOR EACH ROW EXECUTE FUNCTION pipelines_migrations.fill_new_columns()', home);
        -- For replica sessions too.
        EXECUTE format('ALTER TABLE %s.stages ENABLE ALWAYS TRIGGER pipelines_new_columns', home);
    END IF;
END
$$;

-- Rows from before the trigger, in batches of so many pages. What is locked meets the trigger, or the next round.
CREATE OR REPLACE PROCEDURE pipelines_migrations.copy_values() LANGUAGE plpgsql AS $$
DECLARE
    pages_per_batch CONSTANT int := 16;  -- writers of its rows wait for a batch
    until           CONSTANT timestamptz := clock_timestamp() + interval '1 minute';
    home            CONSTANT text := current_setting('pipelines.home');
    statement       text;
    pages           bigint;
    assignments     text;
    missing         text;
    left_over       bigint;
BEGIN
    SELECT string_agg(format('%I = %I::%s', new_name, column_name, wanted_type), ', '),
           string_agg(format('(%I IS NULL AND %I IS NOT NULL)', new_name, column_name), ' OR ')
    INTO assignments, missing FROM pipelines_migrations.column_at_work;
    IF assignments IS NULL THEN
        RETURN;
    END IF;
    LOOP
        pages := pg_relation_size(to_regclass(home || '.stages')) / current_setting('block_size')::int;
        FOR batch IN 0 .. pages / pages_per_batch LOOP
            PERFORM set_config('synchronous_commit', 'off', true);  -- a batch that a crash takes is copied again
            statement := format(
                'UPDATE %1$s.stages SET %2$s WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT ctid FROM %1$s.stages'
                ' WHERE ctid OPERATOR(pg_catalog.>=) %3$L AND ctid OPERATOR(pg_catalog.<) %4$L'
                ' AND (%5$s) FOR NO KEY UPDATE SKIP LOCKED))', home, assignments,
                format('(%s,0)', batch * pages_per_batch), format('(%s,0)', (batch + 1) * pages_per_batch), missing);
            -- The application's triggers need its path; the statement names the schema of all that it calls.
            PERFORM set_config('search_path', format('pg_catalog, %s, pg_temp', home), true);
            EXECUTE statement;
            COMMIT;
        END LOOP;
        EXECUTE format('SELECT count(*) FROM %s.stages WHERE %s', home, missing) INTO left_over;
        COMMIT;
        EXIT WHEN left_over = 0;
        IF clock_timestamp() > until THEN
            RAISE EXCEPTION '% rows of stages are locked by other transactions', left_over USING ERRCODE = 'lock_not_available',
                HINT = 'What was done stays and does no harm. Run the same file again when they have ended.';
        END IF;
        PERFORM pg_sleep(0.5);
    END LOOP;
END
$$;

-- That every row is equal: proven by reading, beside readers and writers.
CREATE OR REPLACE PROCEDURE pipelines_migrations.prove_values() LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT k.conname FROM pg_constraint k JOIN pipelines_migrations.column_at_work w
               ON k.conrelid = w.attrelid AND k.conname IN (w.same_check, w.filled_check) WHERE NOT k.convalidated
    LOOP
        EXECUTE format('ALTER TABLE %s.stages VALIDATE CONSTRAINT %I', current_setting('pipelines.home'), one.conname);
        COMMIT;
    END LOOP;
END
$$;

-- In one transaction: readers and writers find the old columns or the new ones.
CREATE OR REPLACE PROCEDURE pipelines_migrations.swap_columns() LANGUAGE plpgsql AS $$
DECLARE
    home CONSTANT text := current_setting('pipelines.home');
    one  record;
BEGIN
    IF NOT EXISTS (SELECT FROM pipelines_migrations.column_at_work) THEN
        RETURN;
    END IF;
    CALL pipelines_migrations.take_lock('stages, templates', 'ACCESS EXCLUSIVE');
    EXECUTE format('DROP TRIGGER pipelines_new_columns ON %s.stages', home);
    DROP FUNCTION pipelines_migrations.fill_new_columns();
    FOR one IN SELECT * FROM pipelines_migrations.column_at_work ORDER BY attnum LOOP
        IF NOT (SELECT convalidated FROM pg_constraint WHERE conrelid = one.attrelid AND conname = one.same_check) THEN
            RAISE EXCEPTION 'the values of % are not proven', one.new_name USING HINT = 'Run the same file again.';
        END IF;
        EXECUTE format('ALTER TABLE %s.stages DROP COLUMN %I', home, one.column_name);
        EXECUTE format('ALTER TABLE %s.stages RENAME COLUMN %I TO %I', home, one.new_name, one.column_name);
        IF one.is_not_null THEN  -- no scan: the constraint has proven it
            EXECUTE format('ALTER TABLE %s.stages ALTER COLUMN %I SET NOT NULL', home, one.column_name);
            EXECUTE format('ALTER TABLE %s.stages DROP CONSTRAINT %I', home, one.filled_check);
        END IF;
        IF one.index_name IS NOT NULL THEN
            EXECUTE format('ALTER INDEX %s.%I RENAME TO %I', home, one.new_index, one.index_name);
        END IF;
        EXECUTE format('COMMENT ON COLUMN %s.stages.%I IS %L', home, one.column_name, one.comment);
    END LOOP;
END
$$;

-- An index is built concurrently by a statement of its own, which cannot ask whether it is needed. Where it is not, an empty
-- temporary table of the same name, which is found first, gets it.
CREATE OR REPLACE PROCEDURE pipelines_migrations.stand_in(of_column text) LANGUAGE plpgsql AS $$
BEGIN
    DROP TABLE IF EXISTS pg_temp.stages;
    IF NOT EXISTS (SELECT FROM pipelines_migrations.column_at_work
                   WHERE new_name OPERATOR(pg_catalog.=) of_column AND index_name IS NOT NULL) THEN
        EXECUTE pg_catalog.format('CREATE TEMP TABLE stages (%I uuid)', of_column);
    END IF;
END
$$;

-- 4. The columns, their values, their indexes.
CALL pipelines_migrations.add_new_columns();
CALL pipelines_migrations.copy_values();

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
CALL pipelines_migrations.stand_in('pipelines_new_stage_selection_template_id');
CREATE INDEX CONCURRENTLY IF NOT EXISTS pipelines_new_idx_stage_selection_template_id
ON stages (pipelines_new_stage_selection_template_id);
CALL pipelines_migrations.stand_in('pipelines_new_data_extraction_template_id');
CREATE INDEX CONCURRENTLY IF NOT EXISTS pipelines_new_idx_data_extraction_template_id
ON stages (pipelines_new_data_extraction_template_id);
CALL pipelines_migrations.stand_in('pipelines_new_response_generation_template_id');
CREATE INDEX CONCURRENTLY IF NOT EXISTS pipelines_new_idx_response_generation_template_id
ON stages (pipelines_new_response_generation_template_id);
CALL pipelines_migrations.stand_in('pipelines_new_selection_template_id');
CREATE INDEX CONCURRENTLY IF NOT EXISTS pipelines_new_idx_selection_template_id
ON stages (pipelines_new_selection_template_id);
CALL pipelines_migrations.stand_in('pipelines_new_extraction_template_id');
CREATE INDEX CONCURRENTLY IF NOT EXISTS pipelines_new_idx_extraction_template_id
ON stages (pipelines_new_extraction_template_id);
CALL pipelines_migrations.stand_in('pipelines_new_response_template_id');
CREATE INDEX CONCURRENTLY IF NOT EXISTS pipelines_new_idx_response_template_id
ON stages (pipelines_new_response_template_id);
-- The temporary one, which nobody else sees.
-- squawk-ignore ban-drop-table
DROP TABLE IF EXISTS pg_temp.stages;
SET search_path = pg_catalog, pg_temp;

-- 5. The keys, on the new column or on the one that was uuid already. Valid for what is written from now on, then for all.
DO $keys$
DECLARE
    home      CONSTANT text := current_setting('pipelines.home');
    stages    CONSTANT regclass := home || '.stages';
    templates CONSTANT regclass := home || '.templates';
    one       record;
BEGIN
    FOR one IN
        SELECT c.key_name, coalesce(w.new_name, c.column_name) AS on_column FROM pipelines_migrations.changed_column c
        LEFT JOIN pipelines_migrations.column_at_work w USING (column_name)
        WHERE c.key_name IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_constraint WHERE conrelid = stages AND conname = c.key_name) ORDER BY 1
    LOOP
        CALL pipelines_migrations.take_lock('stages, templates', 'SHARE ROW EXCLUSIVE');
        EXECUTE format('ALTER TABLE %1$s.stages ADD CONSTRAINT %2$I FOREIGN KEY (%3$I)'
                       ' REFERENCES %1$s.templates (template_id) NOT VALID', home, one.key_name, one.on_column);
        COMMIT;
    END LOOP;
    PERFORM set_config('lock_timeout', '0', false);  -- what waits here makes nobody else wait
    FOR one IN
        SELECT k.conname FROM pipelines_migrations.changed_column c
        LEFT JOIN pipelines_migrations.column_at_work w USING (column_name)
        JOIN pg_attribute a ON a.attrelid = stages AND a.attname = coalesce(w.new_name, c.column_name)
        JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum]
             AND k.confrelid = templates
        WHERE NOT k.convalidated ORDER BY 1
    LOOP
        EXECUTE format('ALTER TABLE %s.stages VALIDATE CONSTRAINT %I', current_setting('pipelines.home'), one.conname);
        COMMIT;
    END LOOP;
END
$keys$;

-- 6. NOT NULL of templates.content, without a scan under a lock: a constraint proves it first.
DO $content$
DECLARE
    home CONSTANT text := current_setting('pipelines.home');
BEGIN
    IF NOT EXISTS (
        SELECT FROM pipelines_migrations.changed_column c JOIN pg_attribute a ON a.attrelid = to_regclass(c.table_name)
        AND a.attname = c.column_name AND NOT a.attnotnull WHERE c.column_name = 'content')
    THEN
        RETURN;
    END IF;
    CALL pipelines_migrations.take_lock('templates', 'ACCESS EXCLUSIVE');
    EXECUTE format('ALTER TABLE %s.templates DROP CONSTRAINT IF EXISTS pipelines_filled_content', home);
    EXECUTE format('ALTER TABLE %s.templates ADD CONSTRAINT pipelines_filled_content CHECK (content IS NOT NULL) NOT VALID', home);
    COMMIT;
    PERFORM set_config('lock_timeout', '0', false);
    EXECUTE format('ALTER TABLE %s.templates VALIDATE CONSTRAINT pipelines_filled_content', home);
    COMMIT;
    CALL pipelines_migrations.take_lock('templates', 'ACCESS EXCLUSIVE');
    EXECUTE format('ALTER TABLE %s.templates ALTER COLUMN content SET NOT NULL', home);
    EXECUTE format('ALTER TABLE %s.templates DROP CONSTRAINT pipelines_filled_content', home);
END
$content$;

-- 7. The swap.
SET lock_timeout = 0; -- what waits here makes nobody else wait
CALL pipelines_migrations.prove_values();
-- The names of the application without its schema, for statements that call nothing.
DO $path$
BEGIN
    PERFORM set_config('search_path', concat_ws(', ', 'pg_catalog', current_setting('pipelines.home', true), 'pg_temp'), false);
END
$path$;
ANALYZE stages;
SET search_path = pg_catalog, pg_temp;
CALL pipelines_migrations.swap_columns();

-- 8. Only what stands is recorded.
DO $proof$
DECLARE
    missing text;
BEGIN
    SELECT string_agg(what, ', ') INTO missing FROM (
        SELECT format('%s.%I as %s', c.table_name, c.column_name, c.wanted_type) AS what
        FROM pipelines_migrations.changed_column c LEFT JOIN pg_attribute a ON a.attrelid = to_regclass(c.table_name)
             AND a.attname = c.column_name AND NOT a.attisdropped
        WHERE format_type(a.atttypid, a.atttypmod) IS DISTINCT FROM c.wanted_type
           OR (c.column_name = 'content' AND NOT a.attnotnull)
        UNION ALL
        SELECT format('the foreign key %I', c.key_name) FROM pipelines_migrations.changed_column c
        WHERE c.key_name IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_constraint k WHERE k.conrelid = to_regclass(c.table_name) AND k.conname = c.key_name AND k.convalidated)
        UNION ALL
        SELECT format('the index %I', c.index_name) FROM pipelines_migrations.changed_column c
        WHERE c.index_name IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
            WHERE i.indrelid = to_regclass(c.table_name) AND x.relname = c.index_name AND i.indisvalid)
    ) AS wanted;
    IF missing IS NOT NULL OR coalesce(current_setting('pipelines.home', true), 'pg_temp') = 'pg_temp' THEN
        RAISE EXCEPTION 'not everything of this file is there: %', coalesce(missing, 'its plan failed')
            USING HINT = 'The error before this one says why. What was done does no harm; run the same file again.';
    END IF;
    INSERT INTO pipelines_migrations.applied (number, name) VALUES (5, '05_stage_references_as_uuid') ON CONFLICT DO NOTHING;
END
$proof$;
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
