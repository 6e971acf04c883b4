-- 01: prompt_templates becomes templates, in plain SQL and one transaction, for people who only have psql.
--
-- What it does   The same as `python -m pipelines.templates run`: every old row gets its owner, its copies for the other
--                businesses that refer to it, its id, name and type; rows that stand in templates already are left or
--                adopted; the references in stages follow; the old table is frozen and moves, whole, to the schema
--                pipelines_retired_N. All of it stands in the journal (schema pipelines), so that
--                `python -m pipelines.templates status` and `verify` know it. Where a person has to decide, it
--                raises, says what to do, and has changed nothing.
-- Locks          From its first moment to its commit: ACCESS EXCLUSIVE on prompt_templates (also its readers wait),
--                SHARE ROW EXCLUSIVE on stages and templates (writers wait, readers go on); where foreign keys point to
--                the old table, ACCESS EXCLUSIVE on stages too. It waits at most lock_timeout (500ms unless yours is
--                set) for each, and then gives up. Choose a quiet hour, or use the pipeline, whose writers wait for
--                a moment only.
-- Time           10 s for 200,000 rows with 100,000 references on two slow cores, and in proportion.
-- Going back     01_cleanup_template_tables.rollback.sql
--
--   psql -X -v ON_ERROR_STOP=1 -f sql/01_cleanup_template_tables.sql
--
-- Parameters, in PGOPTIONS because psql's own variables are no SQL, such as
--   PGOPTIONS='-c pipelines.default_business=00000000-0000-0000-0000-000000000001'
--
--   pipelines.default_business   owner, by id or name, of rows that nobody refers to (else the only business there is)
--   pipelines.allow_dangling     on: leave references to nothing as they are
--   pipelines.schema             schema of the application, else public

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
    application    CONSTANT text := coalesce(nullif(current_setting('pipelines.schema', true), ''), 'public');
    this_move      CONSTANT text := 'templates' || CASE application WHEN 'public' THEN '' ELSE '@' || application END;
    given_business CONSTANT text := nullif(current_setting('pipelines.default_business', true), '');
    may_dangle     CONSTANT boolean := coalesce(nullif(current_setting('pipelines.allow_dangling', true), ''), 'off')::boolean;
    path_of_triggers CONSTANT text := format('pg_catalog, %I, pg_temp', application);
    code_version   CONSTANT text := 'sql/01_cleanup_template_tables.sql';
    columns_known  CONSTANT text[] := ARRAY[
        'stage_selection_template_id', 'data_extraction_template_id', 'response_generation_template_id',
        'selection_template_id', 'extraction_template_id', 'response_template_id'];
    began          CONSTANT timestamptz := clock_timestamp();
    settings_before CONSTANT jsonb := (
        SELECT jsonb_object_agg(name, current_setting(name)) FROM pg_catalog.unnest(ARRAY[
            'row_security', 'lock_timeout', 'work_mem', 'jit', 'enable_nestloop', 'client_min_messages']) AS name);
    old_table      oid;
    new_table      oid;
    stages_table   oid;
    columns_there  text[];
    default_owner  uuid;
    this_run       bigint;
    retired_schema text;
    found_text     text;
    found_rows     bigint;
    elsewhere      bigint;
    copied         bigint;
    changed        bigint := 0;
    had_rows       boolean;
    claims         text;
    assignments    text;
    new_values     text;
    statement      text;
    of_table       text;
    one            record;
    patience       text;
    locks_end      timestamptz;
BEGIN
    PERFORM set_config('row_security', 'off', true),
            set_config('work_mem', '128MB', true), set_config('jit', 'off', true);
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

    PERFORM set_config('client_min_messages', 'warning', true);  -- that they are there already is no news
    CREATE SCHEMA IF NOT EXISTS pipelines_migrations;
    CREATE TABLE IF NOT EXISTS pipelines_migrations.applied (
        number     bigint PRIMARY KEY,
        name       text NOT NULL,
        sha256     text,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        applied_by text NOT NULL DEFAULT session_user
    );
    INSERT INTO pipelines_migrations.applied (number, name) VALUES (1, '01_cleanup_template_tables')
    ON CONFLICT DO NOTHING;
    PERFORM set_config('client_min_messages', settings_before ->> 'client_min_messages', true);

    old_table := to_regclass(format('%I.prompt_templates', application));
    new_table := to_regclass(format('%I.templates', application));
    stages_table := to_regclass(format('%I.stages', application));
    SELECT obj_description(oid, 'pg_namespace') INTO found_text FROM pg_namespace WHERE nspname = 'pipelines';
    IF FOUND AND found_text IS DISTINCT FROM 'table move journal, version 3' THEN
        RAISE EXCEPTION 'the schema pipelines of this database is not this version''s journal'
            USING HINT = 'Rename the schema, or use the version that made it.';
    ELSIF FOUND THEN
        SELECT milestone INTO found_text FROM pipelines.move WHERE move = this_move;
        IF FOUND AND found_text = 'rolled_back' THEN  -- by the pipeline: it begins anew
            DELETE FROM pipelines.id_map WHERE move = this_move;
            DELETE FROM pipelines.batch WHERE move = this_move;
            DELETE FROM pipelines.rejected WHERE move = this_move;
            DELETE FROM pipelines.reference_change WHERE move = this_move;
            DELETE FROM pipelines.kept_reference WHERE move = this_move;
            DELETE FROM pipelines.retired_table WHERE move = this_move;
            DELETE FROM pipelines.move WHERE move = this_move;
        ELSIF FOUND AND found_text IN ('confirmed', 'purged') AND old_table IS NOT NULL THEN
            RAISE EXCEPTION 'a new %.prompt_templates has appeared; the old one is retired', application
                USING HINT = 'Rename the new table away, then run this again.';
        ELSIF FOUND AND found_text IN ('confirmed', 'purged') THEN
            RAISE NOTICE 'The move is done: nothing is left to do.';
            PERFORM set_config(key, value, true) FROM jsonb_each_text(settings_before);
            RETURN;
        ELSIF FOUND THEN
            RAISE EXCEPTION 'the pipeline has begun this move (it is at: %)', found_text
                USING HINT = 'Go on with it: python -m pipelines.templates run';
        END IF;
    ELSE
        CREATE SCHEMA pipelines;

        CREATE TABLE pipelines.move (
            move           text PRIMARY KEY,
            source_schema  text NOT NULL,
            source_table   text NOT NULL,
            source_oid     oid NOT NULL,
            target_oid     oid NOT NULL,
            milestone      text NOT NULL CHECK (milestone IN ('copying', 'switched', 'retired', 'confirmed', 'purged',
                                                          'rolled_back')),
            fence          bigint NOT NULL,
            mapping        text NOT NULL,
            default_owner  uuid,
            retired_schema text,
            write_pause_ms double precision,
            settled_xmin   xid8,
            switched_xmin  xid8,
            place          text,
            target_columns jsonb
        );
        COMMENT ON TABLE pipelines.move IS 'One row per move: how far it is committed. fence is the run that may write. '
            'settled_xmin: what older transactions wrote is in target and map. switched_xmin: none of them wrote after the switch. '
            'place: cluster, database and table that these numbers are of; elsewhere they say nothing. '
            'target_columns: the numbers of the columns at the switch.';

        CREATE TABLE pipelines.run (
            run_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            move         text NOT NULL,
            state        text NOT NULL CHECK (state IN ('running', 'interrupted', 'stopped', 'done', 'rolled_back', 'purged')),
            phase        text NOT NULL,
            started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
            finished_at  timestamptz,
            error        text,
            code_version text NOT NULL,
            settings     jsonb NOT NULL,
            rows_written bigint NOT NULL DEFAULT 0,
            timings      jsonb NOT NULL DEFAULT '{}',
            summary      jsonb
        );
        COMMENT ON TABLE pipelines.run IS 'One row per attempt. settings hold no secret.';

        CREATE TABLE pipelines.batch (
            batch_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            run_id       bigint NOT NULL,
            move         text NOT NULL,
            phase        text NOT NULL,
            range        text NOT NULL,
            filenode     oid NOT NULL,
            rows         bigint NOT NULL,
            committed_at timestamptz NOT NULL DEFAULT clock_timestamp()
        );
        CREATE INDEX batch_move ON pipelines.batch (move);
        COMMENT ON TABLE pipelines.batch IS
            'One row per committed batch. range: the ctids [from, to) it read, valid for that filenode of the source.';

        CREATE TABLE pipelines.id_map (
            move        text COLLATE "C" NOT NULL,
            source_id   text COLLATE "C" NOT NULL,
            owner_id    uuid NOT NULL,
            target_id   uuid NOT NULL,
            disposition text NOT NULL CHECK (disposition IN ('inserted', 'already_present', 'adopted', 'conflict')),
            owner_rule  text NOT NULL CHECK (owner_rule IN ('present', 'owners_file', 'references', 'default', 'copy')),
            loaded      boolean NOT NULL DEFAULT true,
            kept_target boolean NOT NULL DEFAULT false,
            source_hash bytea NOT NULL,
            target_hash bytea NOT NULL,
            run_id      bigint NOT NULL,
            PRIMARY KEY (source_id, move, owner_id),  -- what differs most comes first: comparing is most of an insertion
            UNIQUE (target_id, move)
        );
        CREATE INDEX id_map_found ON pipelines.id_map (target_id) WHERE NOT loaded;
        COMMENT ON TABLE pipelines.id_map IS
            'One row per source row and owner. loaded: the target row is one that this move inserted. kept_target: it differs '
            'from the source row, and somebody decided that it stays.';

        CREATE TABLE pipelines.rejected (
            move       text NOT NULL,
            source_id  text COLLATE "C" NOT NULL,
            owner_id   uuid,
            owner_rule text,
            reason     text NOT NULL,
            detail     text NOT NULL,
            run_id     bigint NOT NULL,
            UNIQUE (move, source_id, owner_id)
        );

        CREATE TABLE pipelines.reference_change (
            change_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            move        text NOT NULL,
            table_name  text NOT NULL,
            row_key     text NOT NULL,
            column_name text NOT NULL,
            old_value   text NOT NULL,
            new_value   text NOT NULL,
            run_id      bigint NOT NULL
        );
        CREATE INDEX reference_change_move ON pipelines.reference_change (move);

        CREATE TABLE pipelines.kept_reference (
            move        text NOT NULL,
            table_name  text NOT NULL,
            row_key     text NOT NULL,
            column_name text NOT NULL,
            value       text NOT NULL
        );
        CREATE INDEX kept_reference_move ON pipelines.kept_reference (move);
        COMMENT ON TABLE pipelines.kept_reference IS
            'References that pointed to adopted or already present rows before the switch: going back leaves them alone.';

        CREATE TABLE pipelines.check_result (
            run_id           bigint NOT NULL,
            phase            text NOT NULL,
            suite            text NOT NULL,
            expectation      text NOT NULL,
            severity         text NOT NULL,
            success          boolean NOT NULL,
            observed         text,
            unexpected_count bigint NOT NULL,
            reason           text NOT NULL,
            remedy           text NOT NULL DEFAULT '',
            samples          jsonb NOT NULL DEFAULT '[]',
            error            text,
            seconds          double precision NOT NULL,
            PRIMARY KEY (run_id, phase, suite, expectation)
        );

        CREATE TABLE pipelines.claim (
            move       text NOT NULL,
            source_id  text COLLATE "C" NOT NULL,
            owner_id   uuid NOT NULL,
            uses       bigint NOT NULL
        );
        CREATE INDEX claim_source ON pipelines.claim (source_id, move);
        COMMENT ON TABLE pipelines.claim IS 'Working table: how often each owner refers to each value. Empty between runs.';

        CREATE TABLE pipelines.touched (
            move      text NOT NULL,
            source_id text COLLATE "C" NOT NULL,
            PRIMARY KEY (source_id, move)
        );
        COMMENT ON TABLE pipelines.touched IS 'Working table: what may have moved since the last look. Empty between runs.';

        CREATE TABLE pipelines.candidate (
            move        text NOT NULL,
            source_id   text COLLATE "C" NOT NULL,
            owner_id    uuid NOT NULL,
            owner_rule  text NOT NULL,
            target_id   uuid NOT NULL,
            source_hash bytea NOT NULL,
            target_hash bytea NOT NULL
        );
        COMMENT ON TABLE pipelines.candidate IS 'Working table: rows that may have an equal one already. Empty between runs.';

        CREATE TABLE pipelines.assigned_owner (
            move      text NOT NULL,
            source_id text COLLATE "C" NOT NULL,
            owner_id  uuid NOT NULL,
            PRIMARY KEY (source_id, move)
        );
        COMMENT ON TABLE pipelines.assigned_owner IS 'Owners that a person has named (--owners).';

        CREATE TABLE pipelines.foreign_key (
            move            text NOT NULL,
            table_oid       oid NOT NULL,
            table_name      text NOT NULL,
            constraint_name text NOT NULL,
            definition      text NOT NULL,
            comment         text,
            validated       boolean NOT NULL,
            run_id          bigint NOT NULL,
            PRIMARY KEY (move, table_oid, constraint_name)
        );
        COMMENT ON TABLE pipelines.foreign_key IS 'Foreign keys to the old table that the cutover took away, to be put back.';

        CREATE TABLE pipelines.retired_table (
            move        text PRIMARY KEY,
            run_id      bigint NOT NULL,
            description jsonb NOT NULL,
            archive     jsonb NOT NULL,
            purged_at   timestamptz NOT NULL DEFAULT clock_timestamp()
        );
        COMMENT ON TABLE pipelines.retired_table IS 'A purged table: description is what it is built from again, archive what '
            'its archive has to be, to the last bit.';

        CREATE FUNCTION pipelines.refuse_write() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            RAISE EXCEPTION 'table % is frozen: its rows live in % now', TG_TABLE_NAME, TG_ARGV[0]
                USING ERRCODE = '55000',
                      HINT = 'Write to ' || TG_ARGV[0] || ' instead. The new ids stand in pipelines.id_map.';
        END
        $$;

        COMMENT ON SCHEMA pipelines IS 'table move journal, version 3';
    END IF;
    IF new_table IS NULL OR stages_table IS NULL THEN
        RAISE EXCEPTION 'there is no %.templates or no %.stages', application, application
            USING HINT = 'Name the application''s schema: PGOPTIONS=''-c pipelines.schema=NAME''';
    ELSIF old_table IS NULL THEN
        RAISE EXCEPTION 'there is no %.prompt_templates, and the journal knows no move of it', application
            USING HINT = 'Name the application''s schema: PGOPTIONS=''-c pipelines.schema=NAME''. Where the table never '
                         'was, mark this file as applied: INSERT INTO pipelines_migrations.applied (number, name) '
                         'VALUES (1, ''01_cleanup_template_tables'');';
    END IF;

    -- 2. The locks, and what stands in the way under them.
    -- Each wait is shorter than the server's deadlock_timeout, so that nobody else ends for our sake; and nobody waits for a
    -- client that sleeps in front of its COMMIT.
    PERFORM set_config('idle_in_transaction_session_timeout', '5s', true);
    PERFORM set_config('lock_timeout', greatest(1000 * extract(epoch FROM least(
        patience::interval, current_setting('deadlock_timeout')::interval / 2)), 1)::int::text, true);
    locks_end := clock_timestamp() + patience::interval;
    LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %I.prompt_templates IN ACCESS EXCLUSIVE MODE', application);
            FOR one IN SELECT DISTINCT conrelid::regclass AS name FROM pg_constraint WHERE contype = 'f' AND confrelid = old_table
                       ORDER BY 1
            LOOP
                EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', one.name);
            END LOOP;
            EXECUTE format('LOCK TABLE %I.stages, %I.templates IN SHARE ROW EXCLUSIVE MODE', application, application);
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() < locks_end THEN
                PERFORM pg_sleep(0.1 + 0.2 * random());
                CONTINUE;
            END IF;
            RAISE EXCEPTION 'a lock on prompt_templates, stages or templates was not to be had within %',
                patience
                USING ERRCODE = 'lock_not_available',
                      HINT = 'Nothing was changed. Run it again in a quieter moment, or wait longer: '
                             'PGOPTIONS=''-c lock_timeout=10s''. SELECT * FROM pg_prepared_xacts shows who may hold it for ever.';
        END;
    END LOOP;
    PERFORM set_config('lock_timeout', '10ms', true);  -- from here others wait for us, so that we wait for nobody
    SELECT string_agg(what, ', ' ORDER BY what) INTO found_text FROM (
        SELECT pg_describe_object(d.classid, d.objid, d.objsubid) AS what
        FROM pg_class c JOIN pg_type t ON t.oid = c.reltype
        JOIN pg_depend d ON d.deptype = 'n'
             AND (d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                  OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray))
        LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
        WHERE c.oid = old_table AND (k.contype <> 'f') IS NOT FALSE AND k.conrelid IS DISTINCT FROM old_table
        UNION SELECT format('policy %I', polname) FROM pg_policy WHERE polrelid = old_table
        UNION SELECT format('rule %I on %s', rulename, ev_class::regclass) FROM pg_rewrite
              WHERE ev_class IN (old_table, new_table, stages_table)
        UNION SELECT format('publication %I', p.pubname) FROM pg_publication p LEFT JOIN pg_publication_rel r
              ON r.prpubid = p.oid AND r.prrelid IN (old_table, new_table, stages_table)
              LEFT JOIN pg_publication_namespace s ON s.pnpubid = p.oid
              AND s.pnnspid IN (SELECT relnamespace FROM pg_class WHERE oid IN (old_table, new_table, stages_table))
              WHERE p.puballtables OR r.oid IS NOT NULL OR s.oid IS NOT NULL
        UNION SELECT format('subscription %I', s.subname) FROM pg_subscription s JOIN pg_subscription_rel r
              ON r.srsubid = s.oid WHERE r.srrelid IN (old_table, new_table, stages_table)
        UNION SELECT format('child or parent table %s', CASE inhrelid WHEN old_table THEN inhparent ELSE inhrelid END::regclass)
              FROM pg_inherits WHERE old_table IN (inhrelid, inhparent)
        UNION SELECT format('foreign key %I of %s', conname, conrelid::regclass) FROM pg_constraint
              WHERE contype = 'f' AND confrelid = old_table AND NOT (conrelid = stages_table AND cardinality(conkey) = 1
              AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = conrelid AND attnum = conkey[1]
                          AND attname = ANY (columns_known)))
        UNION SELECT format('trigger %I (an unfinished move froze the table)', tgname) FROM pg_trigger
              WHERE tgrelid = old_table AND tgname = 'pipelines_frozen'
    ) in_the_way;
    IF found_text IS NOT NULL THEN
        RAISE EXCEPTION 'these depend on %.prompt_templates or rewrite what is written: %', application, found_text
            USING HINT = 'Drop them, or point them to templates; nothing is dropped with CASCADE. '
                         'python -m pipelines.templates plan gives the statement for each. Then run this again.';
    END IF;
    SELECT array_agg(attname::text ORDER BY array_position(columns_known, attname::text)),
           string_agg(format('%I (%s)', attname, format_type(atttypid, atttypmod)), ', ')
           FILTER (WHERE atttypid NOT IN ('varchar'::regtype, 'text'::regtype, 'uuid'::regtype))
    INTO columns_there, found_text FROM pg_attribute
    WHERE attrelid = stages_table AND attname = ANY (columns_known) AND NOT attisdropped;
    IF found_text IS NOT NULL THEN
        RAISE EXCEPTION 'columns of stages are neither varchar nor text nor uuid: %', found_text
            USING HINT = 'Change their type, then run this again.';
    END IF;

    -- 3. The attempt's line in the journal; the foreign keys to the old table leave, to be put back by the rollback.
    INSERT INTO pipelines.run (move, state, phase, code_version, settings)
    VALUES (this_move, 'running', 'copy', code_version,
            jsonb_build_object('default_business', given_business, 'allow_dangling', may_dangle))
    RETURNING run_id INTO this_run;
    FOR one IN SELECT * FROM pg_constraint WHERE contype = 'f' AND confrelid = old_table AND conparentid = 0 ORDER BY conname
    LOOP
        INSERT INTO pipelines.foreign_key (move, table_oid, table_name, constraint_name, definition, comment, validated, run_id)
        VALUES (this_move, stages_table, 'stages', one.conname, pg_get_constraintdef(one.oid),
                obj_description(one.oid, 'pg_constraint'), one.convalidated, this_run);
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', stages_table::regclass, one.conname);
    END LOOP;

    -- From here the application's tables are found without a schema. Its own triggers need its path: the two statements that
    -- fire them run under it, and name the schema of all that they call.
    -- What is carried is read as text, whatever its type: an enum, say, has neither btrim nor octet_length.
    FOREACH of_table IN ARRAY ARRAY['businesses', 'stages'] LOOP
        EXECUTE format('CREATE TEMP VIEW %2$I AS SELECT * FROM %1$I.%2$I', application, of_table);
    END LOOP;
    EXECUTE format('CREATE TEMP VIEW prompt_templates AS SELECT template_id::text AS template_id,'
        ' template_text::text AS template_text, description::text AS description, template_name::text AS template_name,'
        ' template_type::text AS template_type FROM %I.prompt_templates', application);
    EXECUTE format('CREATE TEMP VIEW templates AS SELECT template_id, business_id, template_name::text AS template_name,'
        ' template_type::text AS template_type, content::text AS content FROM %I.templates', application);
    SET CONSTRAINTS ALL IMMEDIATE;

    -- 4. What every old row would become, whoever owns it; what every reference means.
    CREATE TEMP VIEW mapped AS
    SELECT source_id, template_name, template_type, content, source_hash,
           sha256(convert_to(octet_length(template_name) || ':' || template_name || octet_length(template_type) || ':'
                             || template_type || octet_length(content) || ':' || content, 'UTF8')) AS target_hash,
           -- A canonical UUID stays; every other id makes a name-based one, version 8 over SHA-256.
           CASE WHEN source_id LIKE '________-____-____-____-____________'
                     AND translate(source_id, '0123456789abcdef', '') = '----'
                THEN source_id::uuid
                ELSE encode(set_byte(set_byte(digest, 6, (get_byte(digest, 6) & 15) | 128),
                                     8, (get_byte(digest, 8) & 63) | 128), 'hex')::uuid END AS primary_id
    FROM (
        SELECT source_id, template_type, content, source_hash,
               CASE WHEN length(whole) <= 255 THEN whole
                    ELSE left(whole, 246) || '~' || left(encode(sha256(convert_to(whole, 'UTF8')), 'hex'), 8)
               END AS template_name,
               substring(sha256(decode('6f1c2f0e8d524f0b9c430a7d5b3e21c8', 'hex') || convert_to(source_id, 'UTF8'))
                         FROM 1 FOR 16) AS digest
        FROM (
            SELECT p.template_id::text COLLATE "C" AS source_id, p.template_text AS content,
                   CASE WHEN btrim(p.template_name, E' \t\n\x0B\f\r') <> '' THEN p.template_name
                        WHEN btrim(p.description, E' \t\n\x0B\f\r') <> ''
                        THEN rtrim(substring(ltrim(p.description, E' \t\n\x0B\f\r') FROM E'^[^\r\n]*'), E' \t\n\x0B\f\r')
                        ELSE 'Migrated Template ' || p.template_id END::text AS whole,
                   CASE WHEN btrim(p.template_type, E' \t\n\x0B\f\r') <> '' THEN p.template_type
                        ELSE 'stage_selection' END::text AS template_type,
                   sha256(convert_to(coalesce(octet_length(p.template_text) || ':' || p.template_text, '-')
                                     || coalesce(octet_length(p.description) || ':' || p.description, '-')
                                     || coalesce(octet_length(p.template_name) || ':' || p.template_name, '-')
                                     || coalesce(octet_length(p.template_type) || ':' || p.template_type, '-'), 'UTF8')
                   ) AS source_hash
            FROM prompt_templates p OFFSET 0  -- each value is made once, however often it is used above
        ) named OFFSET 0
    ) shortened;

    -- A uuid column means an old id by its value: other spellings of a UUID in the old table.
    CREATE TEMP TABLE spelling ON COMMIT DROP AS
    SELECT source_id, source_id::uuid AS id FROM (
        SELECT template_id::text COLLATE "C" AS source_id FROM prompt_templates
        WHERE octet_length(template_id) BETWEEN 32 AND 41 AND length(translate(template_id, '{}-', '')) = 32
          AND 'uuid'::regtype IN (SELECT atttypid FROM pg_attribute
                                  WHERE attrelid = stages_table AND attname = ANY (columns_there)) OFFSET 0
    ) long_enough
    WHERE CASE WHEN source_id ~ '^(([0-9a-fA-F]{4}-?)*[0-9a-fA-F]{4}|[{]([0-9a-fA-F]{4}-?)*[0-9a-fA-F]{4}[}])$'
               THEN source_id::uuid::text <> source_id END;
    SELECT string_agg(quote_literal(a.source_id), ', ') INTO found_text FROM pg_temp.spelling a
    WHERE EXISTS (SELECT FROM prompt_templates p WHERE p.template_id = a.id::text)
       OR EXISTS (SELECT FROM pg_temp.spelling b WHERE b.id = a.id AND b.source_id <> a.source_id);
    IF found_text IS NOT NULL THEN
        RAISE EXCEPTION 'old ids are the same UUID as another one in another spelling: %', found_text
            USING HINT = 'Delete one of the two rows, or give it another template_id; a uuid column may mean either.';
    END IF;

    SELECT string_agg(format(CASE WHEN atttypid = 'uuid'::regtype THEN
               'SELECT r.stage_id::text AS row_key, %1$L::text AS column_name, r.business_id AS owner_id,'
               ' coalesce(a.source_id, r.%1$I::text COLLATE "C") AS value, r.%1$I AS id'
               ' FROM stages r LEFT JOIN pg_temp.spelling a ON a.id = r.%1$I'
           ELSE
               'SELECT r.stage_id::text AS row_key, %1$L::text AS column_name, r.business_id AS owner_id,'
               ' r.%1$I::text COLLATE "C" AS value, CASE WHEN r.%1$I LIKE ''________-____-____-____-____________'''
               ' AND translate(r.%1$I, ''0123456789abcdef'', '''') = ''----'' THEN r.%1$I::uuid END AS id FROM stages r'
           END, attname), ' UNION ALL '),
           -- Counted column by column: as one grouping the planner takes it for a few thousand groups.
           string_agg(format(CASE WHEN atttypid = 'uuid'::regtype THEN
               'SELECT coalesce(a.source_id, c.value::text COLLATE "C"), c.owner_id, c.uses FROM ('
               'SELECT %1$I AS value, business_id AS owner_id, count(*) AS uses FROM stages GROUP BY 1, 2) c'
               ' LEFT JOIN pg_temp.spelling a ON a.id = c.value'
           ELSE
               'SELECT %1$I::text COLLATE "C" AS value, business_id AS owner_id, count(*) AS uses FROM stages GROUP BY 1, 2'
           END, attname), ' UNION ALL '),
           string_agg(format('%1$I = coalesce(n.%1$I, s.%1$I)', attname), ', '),
           string_agg(format('(pg_catalog.max(new_value) FILTER (WHERE column_name OPERATOR(pg_catalog.=) %1$L))::%2$s AS %1$I', attname,
                             format_type(atttypid, NULL)), ', ')
    INTO found_text, claims, assignments, new_values FROM pg_attribute
    WHERE attrelid = stages_table AND attname = ANY (columns_there);
    EXECUTE 'CREATE TEMP VIEW reference AS ' || coalesce(found_text,
        'SELECT NULL::text AS row_key, NULL::text AS column_name, NULL::uuid AS owner_id, NULL::text COLLATE "C" AS value,'
        ' NULL::uuid AS id WHERE false');

    -- 5. Who owns what. Rows of templates that have the id of an old row name its owner where they are equal, and where
    --    their business refers to it or nobody does; then the business that refers most often, ties by the smallest id.
    EXECUTE 'CREATE TEMP TABLE used ON COMMIT DROP AS SELECT value AS source_id, owner_id, sum(uses) AS uses FROM ('
        || coalesce(claims, 'SELECT NULL::text COLLATE "C" AS value, NULL::uuid AS owner_id, 0 AS uses WHERE false')
        || ') c (value, owner_id, uses) WHERE value IS NOT NULL AND owner_id IS NOT NULL GROUP BY 1, 2';
    had_rows := EXISTS (SELECT FROM templates);
    CREATE TEMP TABLE present (source_id text COLLATE "C", owner_id uuid) ON COMMIT DROP;
    IF had_rows THEN
        SET LOCAL enable_nestloop = off;  -- over columns of expressions the planner expects a handful of rows
        INSERT INTO pg_temp.present
        SELECT m.source_id, t.business_id FROM pg_temp.mapped m JOIN templates t ON t.template_id = m.primary_id
        WHERE m.target_hash = sha256(convert_to(
                  coalesce(octet_length(t.template_name) || ':' || t.template_name, '-')
                  || coalesce(octet_length(t.template_type) || ':' || t.template_type, '-')
                  || coalesce(octet_length(t.content) || ':' || t.content, '-'), 'UTF8'))
          AND (EXISTS (SELECT FROM pg_temp.used u WHERE u.source_id = m.source_id AND u.owner_id = t.business_id)
               OR NOT EXISTS (SELECT FROM pg_temp.used u WHERE u.source_id = m.source_id));
    END IF;
    CREATE TEMP TABLE claim ON COMMIT DROP AS
    SELECT source_id, owner_id, is_present,
           row_number() OVER (PARTITION BY source_id ORDER BY is_present DESC, uses DESC, owner_id) AS place
    FROM (
        SELECT source_id, owner_id, bool_or(is_present) AS is_present, sum(uses) AS uses FROM (
            SELECT source_id, owner_id, false AS is_present, uses FROM pg_temp.used
            UNION ALL SELECT source_id, owner_id, true, 0 FROM pg_temp.present
        ) both_kinds GROUP BY 1, 2
    ) counted;
    ANALYZE pg_temp.claim;

    SELECT (array_agg(business_id))[1], count(*) INTO default_owner, found_rows FROM (
        SELECT business_id FROM businesses
        WHERE given_business IS NULL OR given_business IN (business_id::text, business_name) LIMIT 2) candidate;
    IF found_rows <> 1 THEN
        default_owner := NULL;
    END IF;
    IF given_business IS NOT NULL AND default_owner IS NULL THEN
        RAISE EXCEPTION 'pipelines.default_business is %, which is the id or name of no business, or of two', given_business
            USING HINT = 'SELECT business_id, business_name FROM businesses; names the ones there are.';
    ELSIF default_owner IS NULL THEN
        SELECT count(*), string_agg(quote_literal(source_id), ', ' ORDER BY source_id) FILTER (WHERE place <= 5)
        INTO found_rows, found_text FROM (
            SELECT p.template_id::text COLLATE "C" AS source_id, row_number() OVER (ORDER BY p.template_id COLLATE "C") AS place
            FROM prompt_templates p LEFT JOIN pg_temp.claim c ON c.source_id = p.template_id::text COLLATE "C"
            WHERE c.source_id IS NULL) alone;
        IF found_rows > 0 THEN
            RAISE EXCEPTION '% rows have no owner: nobody refers to them and there is no default business. For example %',
                found_rows, found_text
                USING HINT = 'Decide which business shall own them (SELECT business_id, business_name FROM businesses; names '
                             'the ones there are), then PGOPTIONS=''-c pipelines.default_business=BUSINESS_ID'' psql -X -v '
                             'ON_ERROR_STOP=1 -f sql/01_cleanup_template_tables.sql (or python -m pipelines.migrations up '
                             '--default-business BUSINESS_ID)';
        END IF;
    END IF;

    -- 6. The map.
    INSERT INTO pipelines.id_map (move, source_id, owner_id, target_id, disposition, owner_rule, source_hash, target_hash,
                                  run_id)
    SELECT this_move, m.source_id, coalesce(c.owner_id, default_owner),
           CASE WHEN c.place > 1 THEN (
               SELECT encode(set_byte(set_byte(digest, 6, (get_byte(digest, 6) & 15) | 128),
                                      8, (get_byte(digest, 8) & 63) | 128), 'hex')::uuid
               FROM (SELECT substring(sha256(decode('6f1c2f0e8d524f0b9c430a7d5b3e21c8', 'hex') || convert_to(m.source_id, 'UTF8')
                                             || decode('00', 'hex') || convert_to(c.owner_id::text, 'UTF8'))
                            FROM 1 FOR 16) AS digest OFFSET 0) d)
           ELSE m.primary_id END,
           'inserted',
           CASE WHEN c.place IS NULL THEN 'default' WHEN c.place > 1 THEN 'copy' WHEN c.is_present THEN 'present'
                ELSE 'references' END,
           m.source_hash, m.target_hash, this_run
    FROM pg_temp.mapped m LEFT JOIN pg_temp.claim c ON c.source_id = m.source_id;
    GET DIAGNOSTICS found_rows = ROW_COUNT;
    ANALYZE pipelines.id_map;
    IF had_rows THEN
        -- Equal rows under the same id stay; pairs of equal rows under other ids are adopted, smallest ids first, at most
        -- one old row per new one; what is left with a taken id is a conflict.
        CREATE TEMP TABLE there ON COMMIT DROP AS
        SELECT t.template_id, t.business_id, sha256(convert_to(
                   coalesce(octet_length(t.template_name) || ':' || t.template_name, '-')
                   || coalesce(octet_length(t.template_type) || ':' || t.template_type, '-')
                   || coalesce(octet_length(t.content) || ':' || t.content, '-'), 'UTF8')) AS target_hash
        FROM templates t;
        ANALYZE pg_temp.there;
        UPDATE pipelines.id_map i SET disposition = 'already_present', loaded = false FROM pg_temp.there t
        WHERE i.move = this_move AND t.template_id = i.target_id AND t.business_id = i.owner_id
          AND t.target_hash = i.target_hash;
        SELECT count(*), min(format('%L (for business %s)', i.source_id, i.owner_id)) INTO found_rows, found_text
        FROM pipelines.id_map i JOIN pg_temp.there t ON t.template_id = i.target_id
        WHERE i.move = this_move AND i.disposition = 'inserted';
        IF found_rows > 0 THEN
            RAISE EXCEPTION '% old rows are in conflict: another row of templates has their id, for example %', found_rows,
                found_text
                USING HINT = 'Make the rows equal, or delete one of each two. To keep what stands in templates: '
                             'python -m pipelines.templates run --on-conflict keep-target';
        END IF;
        UPDATE pipelines.id_map i SET target_id = f.template_id, disposition = 'adopted', loaded = false
        FROM (
            SELECT source_id, owner_id, target_hash,
                   row_number() OVER (PARTITION BY owner_id, target_hash ORDER BY source_id) AS place
            FROM pipelines.id_map WHERE move = this_move AND disposition = 'inserted'
        ) c JOIN (
            SELECT t.template_id, t.business_id AS owner_id, t.target_hash,
                   row_number() OVER (PARTITION BY t.business_id, t.target_hash ORDER BY t.template_id) AS place
            FROM pg_temp.there t LEFT JOIN pg_temp.mapped m ON m.primary_id = t.template_id WHERE m.source_id IS NULL
        ) f USING (owner_id, target_hash, place)
        WHERE i.move = this_move AND i.source_id = c.source_id AND i.owner_id = c.owner_id;
    END IF;

    -- 7. The rows, and the proof that they are there as the map says.
    SET LOCAL enable_nestloop = off;
    statement := format('INSERT INTO %I.templates (template_id, business_id, template_name, template_type, content)'
        ' SELECT i.target_id, i.owner_id, %s'
        ' FROM pg_temp.mapped m JOIN pipelines.id_map i ON i.source_id OPERATOR(pg_catalog.=) m.source_id'
        ' WHERE i.move OPERATOR(pg_catalog.=) %L AND i.disposition OPERATOR(pg_catalog.=) %L', application, (
            -- Text is no enum by itself.
            SELECT string_agg(format('m.%I', a.attname) || CASE WHEN t.typcategory = 'E' THEN '::' || a.atttypid::regtype ELSE '' END,
                              ', ' ORDER BY array_position(ARRAY['template_name', 'template_type', 'content'], a.attname::text))
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
            WHERE a.attrelid = new_table AND a.attname IN ('template_name', 'template_type', 'content')
        ), this_move, 'inserted');
    PERFORM set_config('search_path', path_of_triggers, true);
    EXECUTE statement;
    GET DIAGNOSTICS copied = ROW_COUNT;
    SET LOCAL search_path = pg_catalog, pg_temp;
    SELECT count(*) INTO found_rows FROM pipelines.id_map i LEFT JOIN (
        SELECT t.template_id, t.business_id, sha256(convert_to(
                   coalesce(octet_length(t.template_name) || ':' || t.template_name, '-')
                   || coalesce(octet_length(t.template_type) || ':' || t.template_type, '-')
                   || coalesce(octet_length(t.content) || ':' || t.content, '-'), 'UTF8')) AS target_hash
        FROM templates t OFFSET 0
    ) t ON t.template_id = i.target_id AND t.business_id = i.owner_id
    WHERE i.move = this_move AND t.target_hash IS DISTINCT FROM i.target_hash;
    IF found_rows > 0 THEN
        RAISE EXCEPTION '% rows do not stand in templates as they were written', found_rows
            USING HINT = 'Look at triggers and rules on templates that change or swallow rows, then run this again.';
    END IF;

    -- 8. The references follow, with their pre-images kept. Our own output is never mapped again.
    IF had_rows THEN
        INSERT INTO pipelines.kept_reference (move, table_name, row_key, column_name, value)
        SELECT this_move, 'stages', r.row_key, r.column_name, r.value
        FROM pg_temp.reference r JOIN pipelines.id_map i ON i.move = this_move AND i.target_id = r.id AND NOT i.loaded
        WHERE i.source_id <> r.value;
    END IF;
    INSERT INTO pipelines.reference_change (move, table_name, row_key, column_name, old_value, new_value, run_id)
    SELECT this_move, 'stages', r.row_key, r.column_name, r.value, i.target_id::text, this_run
    FROM pg_temp.reference r JOIN pipelines.id_map i
         ON i.move = this_move AND i.source_id = r.value AND i.owner_id = r.owner_id
    WHERE i.target_id IS DISTINCT FROM r.id;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed > 0 THEN
        ANALYZE pipelines.reference_change;
        statement := format('UPDATE %I.stages s SET %s FROM (SELECT row_key, %s FROM pipelines.reference_change'
            ' WHERE move OPERATOR(pg_catalog.=) %L AND run_id OPERATOR(pg_catalog.=) %s GROUP BY row_key) n'
            ' WHERE s.stage_id::text OPERATOR(pg_catalog.=) n.row_key', application, assignments, new_values, this_move, this_run);
        PERFORM set_config('search_path', path_of_triggers, true);
        EXECUTE statement;
        SET LOCAL search_path = pg_catalog, pg_temp;
        SELECT count(*) INTO found_rows FROM pipelines.reference_change c
        LEFT JOIN pg_temp.reference r ON r.row_key = c.row_key AND r.column_name = c.column_name
        WHERE c.move = this_move AND c.run_id = this_run AND r.id IS DISTINCT FROM c.new_value::uuid;
        IF found_rows > 0 THEN
            RAISE EXCEPTION '% references do not hold their new value after the update', found_rows
                USING HINT = 'Look at triggers on stages that change these columns, then run this again.';
        END IF;
    END IF;
    SELECT count(*) FILTER (WHERE t.template_id IS NULL), count(*) FILTER (WHERE t.template_id IS NOT NULL),
           min(format('stage %s, %s = %L', r.row_key, r.column_name, r.value)) FILTER (WHERE t.template_id IS NULL)
    INTO found_rows, elsewhere, found_text
    FROM pg_temp.reference r LEFT JOIN templates t ON t.template_id = r.id
    WHERE r.value IS NOT NULL AND t.business_id IS DISTINCT FROM r.owner_id;
    IF found_rows > 0 AND NOT may_dangle THEN
        RAISE EXCEPTION '% references point to no template, for example %', found_rows, found_text
            USING HINT = 'Put them right or set them to NULL. To leave them: PGOPTIONS=''-c pipelines.allow_dangling=on''';
    ELSIF found_rows + elsewhere > 0 THEN
        RAISE WARNING '% references point to no template and % to one of another business; they were left as they are.',
            found_rows, elsewhere;
    END IF;

    -- 9. The old table is frozen and leaves; the journal says so.
    retired_schema := format('pipelines_retired_%s', this_run);
    DROP VIEW pg_temp.mapped, pg_temp.reference;
    DROP VIEW pg_temp.businesses, pg_temp.prompt_templates, pg_temp.templates, pg_temp.stages;
    EXECUTE format('CREATE TRIGGER pipelines_frozen BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I.prompt_templates'
                   ' FOR EACH STATEMENT EXECUTE FUNCTION pipelines.refuse_write(%L)', application, application || '.templates');
    -- For replica sessions too.
    EXECUTE format('ALTER TABLE %I.prompt_templates ENABLE ALWAYS TRIGGER pipelines_frozen', application);
    EXECUTE format('CREATE SCHEMA %I', retired_schema);
    INSERT INTO pipelines.batch (run_id, move, phase, range, filenode, rows)
    VALUES (this_run, this_move, 'adoption', 'all', pg_relation_filenode(old_table),
            (SELECT count(*) FROM pipelines.id_map WHERE move = this_move AND disposition = 'adopted')),
           (this_run, this_move, 'copy', '(0,0)-', pg_relation_filenode(old_table),
            (SELECT count(*) FROM pipelines.id_map WHERE move = this_move AND owner_rule <> 'copy'));
    EXECUTE format('ALTER TABLE %I.prompt_templates SET SCHEMA %I', application, retired_schema);
    BEGIN  -- which cluster this is; every role may ask, unless somebody has taken that away
        SELECT system_identifier INTO found_text FROM pg_control_system();
    EXCEPTION WHEN insufficient_privilege THEN
        found_text := '?';
    END;
    INSERT INTO pipelines.move (move, source_schema, source_table, source_oid, target_oid, milestone, fence, mapping,
                                default_owner, retired_schema, write_pause_ms, switched_xmin, place, target_columns)
    VALUES (this_move, application, 'prompt_templates', old_table, new_table, 'confirmed', this_run, code_version,
            default_owner, retired_schema, 1000 * extract(epoch FROM clock_timestamp() - began),
            pg_snapshot_xmin(pg_current_snapshot()),
            format('%s/%s/%s', found_text, (SELECT oid FROM pg_database WHERE datname = current_database()),
                   'pipelines.move'::regclass::oid),
            (SELECT jsonb_object_agg(attname, attnum) FROM pg_attribute
             WHERE attrelid = new_table AND attnum > 0 AND NOT attisdropped));
    UPDATE pipelines.run SET state = 'done', phase = 'confirm', finished_at = clock_timestamp(),
        rows_written = copied + changed,
        timings = jsonb_build_object('copy', round(extract(epoch FROM clock_timestamp() - began)::numeric, 3))
    WHERE run_id = this_run;
    RAISE NOTICE '% rows inserted, % references changed; prompt_templates is in % now.', copied, changed, retired_schema;
    PERFORM set_config(key, value, true) FROM jsonb_each_text(settings_before);
END
$migration$;

-- The session's own path again.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', coalesce(pg_catalog.current_setting('pipelines.path', true), 'public'), false);
END
$path$;
