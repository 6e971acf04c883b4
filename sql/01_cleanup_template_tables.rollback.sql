-- 01, back: prompt_templates serves again, with its data and its references. In one transaction.
--
-- What it does   The old table moves back, whole; every reference to a row that the move inserted becomes its old id again,
--                whoever wrote it, and every reference that the move changed as well; edits of inserted rows are carried
--                back into the old rows (name, type, content; those of copies have no place there); foreign keys return;
--                inserted rows leave templates, except edited copies. The journal keeps the attempts and forgets the map.
--                A move that `python -m pipelines.templates run` made is not this file's: it stays, and only the line of 01
--                leaves the history, unless you say so (pipelines.take_back_run).
-- Locks          ACCESS EXCLUSIVE on the old table, and on stages where foreign keys return; else SHARE ROW EXCLUSIVE on
--                stages and templates (writers wait, readers go on). lock_timeout as in 01.
-- Time           About half of that of 01.
-- Going back     01_cleanup_template_tables.sql
--
--   pipelines.schema        schema of the application, else public
--   pipelines.accept_loss   on: go back although something has no place in the old table; it is listed without it
--   pipelines.take_back_run on: take back a move of the pipeline, too; its own way is `python -m pipelines.templates rollback`

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
    application  CONSTANT text := coalesce(nullif(current_setting('pipelines.schema', true), ''), 'public');
    this_move    CONSTANT text := 'templates' || CASE application WHEN 'public' THEN '' ELSE '@' || application END;
    accept_loss  CONSTANT boolean := coalesce(nullif(current_setting('pipelines.accept_loss', true), ''), 'off')::boolean;
    takes_run    CONSTANT boolean := coalesce(nullif(current_setting('pipelines.take_back_run', true), ''), 'off')::boolean;
    settings_before CONSTANT jsonb := (
        SELECT jsonb_object_agg(name, current_setting(name)) FROM pg_catalog.unnest(ARRAY[
            'row_security', 'lock_timeout', 'work_mem', 'jit', 'enable_nestloop']) AS name);
    path_of_triggers CONSTANT text := format('pg_catalog, %I, pg_temp', application);
    uuid_pattern CONSTANT text := '^[{]?([0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4}[}]?$';
    this_milestone text;
    made_by      text;
    moved_at     timestamptz;
    old_table    oid;
    patience     text;
    locks_end    timestamptz;
    retired      text;
    found_text   text;
    assignments  text;
    homeless     text;
    changed      bigint := 0;
    removed      bigint;
    statement    text;
    one          record;
BEGIN
    PERFORM set_config('row_security', 'off', true),
            set_config('work_mem', '128MB', true), set_config('jit', 'off', true),
            set_config('enable_nestloop', 'off', true);
    IF current_setting('lock_timeout') = '0' THEN
        PERFORM set_config('lock_timeout', '500ms', true);
    END IF;
    patience := current_setting('lock_timeout');
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the transaction is %: it would not see what was written before its locks',
            current_setting('transaction_isolation')
            USING HINT = 'PGOPTIONS=''-c default_transaction_isolation=read\ committed'' and run it again.';
    END IF;

    -- 1. Where the move stands.
    IF NOT pg_try_advisory_xact_lock(
        (('x' || encode(substring(sha256('table_move') FROM 1 FOR 4), 'hex'))::bit(32)::bigint & 2147483647)::int,
        (('x' || encode(substring(sha256(convert_to('table_move/' || this_move, 'UTF8')) FROM 1 FOR 4), 'hex'))::bit(32)::bigint
         & 2147483647)::int)
    THEN
        RAISE EXCEPTION 'another run of the move % is active', this_move
            USING ERRCODE = 'object_in_use', HINT = 'Wait for it: python -m pipelines.templates status says where it stands.';
    END IF;
    IF to_regclass('pipelines_migrations.applied') IS NOT NULL THEN
        -- The table stands from the first change of 05 to the last of its way back.
        IF to_regclass('pipelines_migrations.changed_column') IS NOT NULL THEN
            RAISE EXCEPTION '05 has made the reference columns uuid (or is about to), which cannot hold the old ids'
                USING HINT = 'Take 05 down first (sql/05_*.rollback.sql), then run this again.';
        END IF;
        DELETE FROM pipelines_migrations.applied WHERE number = 1;
    END IF;
    IF to_regclass('pipelines.move') IS NOT NULL THEN
        SELECT m.milestone, m.mapping, m.retired_schema, m.source_oid, r.started_at
        INTO this_milestone, made_by, retired, old_table, moved_at
        FROM pipelines.move m LEFT JOIN (
            SELECT move, min(started_at) AS started_at FROM pipelines.run
            WHERE run_id > coalesce((SELECT max(run_id) FROM pipelines.run WHERE move = this_move AND state = 'rolled_back'), 0)
            GROUP BY move) r ON r.move = m.move
        WHERE m.move = this_move;
    END IF;
    IF this_milestone IS NULL OR this_milestone = 'rolled_back' THEN
        RAISE NOTICE 'There is no move to take back: nothing is left to do.';
        PERFORM set_config(key, value, true) FROM jsonb_each_text(settings_before);
        RETURN;
    ELSIF made_by <> 'sql/01_cleanup_template_tables.sql' AND NOT takes_run THEN
        RAISE NOTICE 'The pipeline made this move, not 01: it stays. To take it back: python -m pipelines.templates rollback';
        PERFORM set_config(key, value, true) FROM jsonb_each_text(settings_before);
        RETURN;
    ELSIF this_milestone = 'purged' THEN
        RAISE EXCEPTION 'the old table has been purged'
            USING HINT = 'Its archive brings it back: python -m pipelines.templates rollback --archive DIR';
    ELSIF this_milestone NOT IN ('retired', 'confirmed') THEN
        RAISE EXCEPTION 'the pipeline is in the middle of this move (it is at: %)', this_milestone
            USING HINT = 'Finish it first: python -m pipelines.templates run';
    ELSIF to_regclass(format('%I.prompt_templates', retired))::oid <> old_table THEN
        RAISE EXCEPTION '%.prompt_templates is not the table that the journal knows: was this database restored?', retired
            USING HINT = 'The pipeline recognises the tables of a restored database: python -m pipelines.templates rollback';
    ELSIF NOT EXISTS (SELECT FROM pg_class WHERE oid = old_table AND relnamespace = to_regnamespace(quote_ident(retired))) THEN
        RAISE EXCEPTION 'the old table is no longer in %', retired
            USING HINT = 'After a purge, only its archive can bring it back: python -m pipelines.templates rollback --archive';
    ELSIF to_regclass(format('%I.prompt_templates', application)) IS NOT NULL THEN
        RAISE EXCEPTION 'a new %.prompt_templates stands where the old one has to return', application
            USING HINT = 'Rename the new table away, then run this again.';
    END IF;

    -- 2. The locks.
    -- Each wait is shorter than the server's deadlock_timeout, so that nobody else ends for our sake; and nobody waits for a
    -- client that sleeps in front of its COMMIT.
    PERFORM set_config('idle_in_transaction_session_timeout', '5s', true);
    PERFORM set_config('lock_timeout', greatest(1000 * extract(epoch FROM least(
        patience::interval, current_setting('deadlock_timeout')::interval / 2)), 1)::int::text, true);
    locks_end := clock_timestamp() + patience::interval;
    LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', old_table::regclass);
            EXECUTE format('LOCK TABLE %I.stages IN %s MODE', application,
                           CASE WHEN EXISTS (SELECT FROM pipelines.foreign_key WHERE move = this_move)
                                THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE ROW EXCLUSIVE' END);
            EXECUTE format('LOCK TABLE %I.templates IN SHARE ROW EXCLUSIVE MODE', application);
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() < locks_end THEN
                PERFORM pg_sleep(0.1 + 0.2 * random());
                CONTINUE;
            END IF;
            RAISE EXCEPTION 'a lock on prompt_templates, stages or templates was not to be had within %',
                patience
                USING ERRCODE = 'lock_not_available', HINT = 'Nothing was changed. Run it again in a quieter moment, or wait '
                    'longer: PGOPTIONS=''-c lock_timeout=10s''';
        END;
    END LOOP;
    PERFORM set_config('lock_timeout', '10ms', true);  -- from here others wait for us, so that we wait for nobody
    EXECUTE format('DROP TRIGGER IF EXISTS pipelines_frozen ON %s', old_table::regclass);
    EXECUTE format('ALTER TABLE %s SET SCHEMA %I', old_table::regclass, application);
    EXECUTE format('DROP SCHEMA %I', retired);
    -- The application's tables without a schema. Its own triggers need its path: the three statements that fire them run under
    -- it, and name the schema of all that they call.
    -- What was carried is read as text, whatever its type.
    EXECUTE format('CREATE TEMP VIEW stages AS SELECT * FROM %I.stages', application);
    EXECUTE format('CREATE TEMP VIEW templates AS SELECT template_id, template_name::text AS template_name,'
        ' template_type::text AS template_type, content::text AS content, created_at FROM %I.templates', application);
    SET CONSTRAINTS ALL IMMEDIATE;

    -- 3. What became of the rows since, and what of it has no place in the old table.
    CREATE TEMP TABLE since ON COMMIT DROP AS
    SELECT i.source_id, i.owner_rule <> 'copy' AS is_primary, i.target_id, i.loaded, t.template_id IS NULL AS gone,
           (sha256(convert_to(
               coalesce(octet_length(t.template_name) || ':' || t.template_name, '-')
               || coalesce(octet_length(t.template_type) || ':' || t.template_type, '-')
               || coalesce(octet_length(t.content) || ':' || t.content, '-'), 'UTF8')) <> i.target_hash
            AND t.template_id IS NOT NULL AND i.loaded) AS edited
    FROM pipelines.id_map i LEFT JOIN templates t ON t.template_id = i.target_id WHERE i.move = this_move;
    ANALYZE pg_temp.since;
    SELECT string_agg(format(
               'SELECT stage_id::text AS row_key, %1$L::text AS column_name, %2$L::boolean AS is_uuid,'
               ' %1$I::text AS value, CASE WHEN %1$I::text ~ ''^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'''
               ' THEN %1$I::text::uuid END AS id FROM stages WHERE %1$I IS NOT NULL',
               attname, atttypid = 'uuid'::regtype), ' UNION ALL '),
           string_agg(format('%1$I = coalesce((n.old_ids OPERATOR(pg_catalog.->>) %1$L)::%2$s, s.%1$I)', attname, format_type(atttypid, NULL)),
                      ', ')
    INTO found_text, assignments FROM pg_attribute
    WHERE attrelid = to_regclass(format('%I.stages', application)) AND NOT attisdropped AND attname = ANY (ARRAY[
        'stage_selection_template_id', 'data_extraction_template_id', 'response_generation_template_id',
        'selection_template_id', 'extraction_template_id', 'response_template_id']);
    EXECUTE format(
        'CREATE TEMP TABLE back ON COMMIT DROP AS SELECT r.*, m.source_id FROM (%s) r'
        ' JOIN pg_temp.since m ON m.target_id = r.id'
        ' LEFT JOIN pipelines.reference_change c ON c.move = %L AND c.row_key = r.row_key'
        ' AND c.column_name = r.column_name AND c.new_value = r.value'
        ' WHERE m.source_id <> r.value AND (m.loaded OR c.move IS NOT NULL)',
        coalesce(found_text, 'SELECT NULL::text AS row_key, NULL::text AS column_name, false AS is_uuid,'
                             ' NULL::text AS value, NULL::uuid AS id'), this_move);
    SELECT string_agg(what, '; ') INTO homeless FROM (
        SELECT format('%s edited copies of other businesses, for example %s (they stay in templates)', count(*),
                      min(target_id::text)) AS what
        FROM pg_temp.since WHERE edited AND NOT is_primary HAVING count(*) > 0
        UNION ALL
        SELECT format('%s rows deleted from templates that will be back, for example %L', count(*), min(source_id))
        FROM pg_temp.since WHERE gone AND is_primary HAVING count(*) > 0
        UNION ALL
        SELECT format('%s rows of templates created since, for example %s (they stay)', count(*), min(t.template_id::text))
        FROM templates t LEFT JOIN pg_temp.since m ON m.target_id = t.template_id
        WHERE m.target_id IS NULL AND t.created_at > moved_at HAVING count(*) > 0
        UNION ALL
        SELECT format('%s references in uuid columns to rows whose old id is no UUID, for example of stage %s', count(*),
                      min(row_key))
        FROM pg_temp.back WHERE is_uuid AND source_id !~ uuid_pattern HAVING count(*) > 0
    ) lost;
    IF homeless IS NOT NULL AND NOT accept_loss THEN
        RAISE EXCEPTION 'the old table has no place for: %', homeless
            USING HINT = 'Nothing was changed. Save what is needed; to go back all the same: '
                         'down --accept-loss; with psql PGOPTIONS=''-c pipelines.accept_loss=on''';
    ELSIF homeless IS NOT NULL THEN
        RAISE WARNING 'without a place in the old table: %', homeless;
    END IF;

    -- 4. Edits, references, rows, foreign keys.
    statement := format('UPDATE %1$I.prompt_templates p SET %2$s FROM pg_temp.since m JOIN %1$I.templates t ON t.template_id OPERATOR(pg_catalog.=) m.target_id'
        ' WHERE m.edited AND m.is_primary AND p.template_id::text OPERATOR(pg_catalog.=) m.source_id', application, (
            -- Text is no enum by itself, nor is one enum another.
            SELECT string_agg(format('%I = t.%I::text', a.attname, c.new_name)
                              || CASE WHEN y.typcategory = 'E' THEN '::' || a.atttypid::regtype ELSE '' END, ', ')
            FROM (VALUES ('template_name', 'template_name'), ('template_type', 'template_type'), ('template_text', 'content'))
                 AS c (old_name, new_name)
            JOIN pg_attribute a ON a.attrelid = old_table AND a.attname = c.old_name JOIN pg_type y ON y.oid = a.atttypid));
    PERFORM set_config('search_path', path_of_triggers, true);
    EXECUTE statement;
    SET LOCAL search_path = pg_catalog, pg_temp;
    DELETE FROM pg_temp.back WHERE is_uuid AND source_id !~ uuid_pattern;
    SELECT count(*) INTO changed FROM pg_temp.back;
    IF changed > 0 THEN
        statement := format('UPDATE %I.stages s SET %s FROM (SELECT row_key, pg_catalog.jsonb_object_agg(column_name, source_id)'
            ' AS old_ids FROM pg_temp.back GROUP BY row_key) n WHERE s.stage_id::text OPERATOR(pg_catalog.=) n.row_key',
            application, assignments);
        PERFORM set_config('search_path', path_of_triggers, true);
        EXECUTE statement;
        SET LOCAL search_path = pg_catalog, pg_temp;
    END IF;
    DROP VIEW pg_temp.templates, pg_temp.stages;
    statement := format('DELETE FROM %I.templates t USING pg_temp.since m WHERE m.loaded'
        ' AND t.template_id OPERATOR(pg_catalog.=) m.target_id AND (NOT m.edited OR m.is_primary)', application);
    PERFORM set_config('search_path', path_of_triggers, true);
    EXECUTE statement;
    GET DIAGNOSTICS removed = ROW_COUNT;
    SET LOCAL search_path = pg_catalog, pg_temp;
    FOR one IN SELECT * FROM pipelines.foreign_key WHERE move = this_move ORDER BY constraint_name LOOP
        EXECUTE format('ALTER TABLE %I.stages ADD CONSTRAINT %I %s', application, one.constraint_name, one.definition);
        IF one.comment IS NOT NULL THEN
            EXECUTE format('COMMENT ON CONSTRAINT %I ON %I.stages IS %L', one.constraint_name, application, one.comment);
        END IF;
    END LOOP;

    -- 5. The journal keeps the attempts.
    INSERT INTO pipelines.run (move, state, phase, finished_at, code_version, settings, rows_written)
    VALUES (this_move, 'rolled_back', 'confirm', clock_timestamp(), 'sql/01_cleanup_template_tables.rollback.sql',
            jsonb_build_object('accept_loss', accept_loss), changed + removed);
    DELETE FROM pipelines.id_map WHERE move = this_move;
    DELETE FROM pipelines.reference_change WHERE move = this_move;
    DELETE FROM pipelines.kept_reference WHERE move = this_move;
    DELETE FROM pipelines.retired_table WHERE move = this_move;
    DELETE FROM pipelines.foreign_key WHERE move = this_move;
    DELETE FROM pipelines.rejected WHERE move = this_move;
    DELETE FROM pipelines.batch WHERE move = this_move;
    DELETE FROM pipelines.move WHERE move = this_move;
    RAISE NOTICE 'prompt_templates is back: % references changed, % rows removed from templates.', changed, removed;
    PERFORM set_config(key, value, true) FROM jsonb_each_text(settings_before);
END
$migration$;

-- The session's own path again.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', coalesce(pg_catalog.current_setting('pipelines.path', true), 'public'), false);
END
$path$;
