-- 04: an audit log of templates and stages: who changed what, and when. In one transaction.
--
-- What it does   A schema audit with the table change, one line per changed row: when, in which transaction, by which role
--                (and the role it had SET), by whom in the application's own terms, and the values before and after as JSON;
--                of an update only the columns that changed. The application names its user with
--                    SET LOCAL audit.actor = 'user 42';
--                Triggers write it, once per statement, with the rights of their owner: the application needs none in audit,
--                and nobody but the owner can change a line. TRUNCATE leaves one line without values; an update that changes
--                nothing leaves none; one that changes a key leaves two, one under each key.
--                Partitions  By month (UTC): this one and three more; what no month takes lands in change_default. Once a month
--                                SELECT audit.add_partitions(3);
--                            makes the next ones, and takes their lines out of change_default. To let a month go:
--                                ALTER TABLE audit.change DETACH PARTITION audit.change_2026_01;
--                Reader      The role audit_reader may read audit.change and do nothing else. Roles belong to all databases of
--                            a server: it is made where it is missing and you may make roles, else told how.
--                                GRANT audit_reader TO …;
-- Locks          SHARE ROW EXCLUSIVE on stages and templates for a moment (writers wait, readers go on), awaited for
--                lock_timeout at most (500ms unless yours is set).
-- Time           Moments, whatever the size. In two runs a query beside it took 5 ms at most, a write of one row 7 ms (1,000,000
--                stages and templates, two cores); neither can take more than lock_timeout longer than usual.
-- Cost           A committed write of one row takes 1.3 times as long as without the log (0.7 to 2.1 in ten pairs), an update
--                of 1,000 rows 2.1 times (1.7 to 4.0). A new template is stored a second time, as JSON: where the
--                templates move shall not fill the log, ALTER TABLE templates DISABLE TRIGGER audit_insert before it.
-- Going back     04_audit_log.rollback.sql
--
--   psql -X -v ON_ERROR_STOP=1 -f sql/04_audit_log.sql
--
--   pipelines.schema   schema of the application, else public

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
    application     CONSTANT text := coalesce(nullif(current_setting('pipelines.schema', true), ''), 'public');
    settings_before CONSTANT jsonb := (SELECT jsonb_object_agg(name, current_setting(name)) FROM pg_catalog.unnest(
                                       ARRAY['lock_timeout', 'client_min_messages']) AS name);
    its_comment     CONSTANT text := 'audit log, version 1';
    -- In milliseconds: over before the server looks for a deadlock, so that nobody else ends for our sake.
    patience    CONSTANT text := greatest(1000::numeric * extract(epoch FROM least(
                             coalesce(nullif(current_setting('lock_timeout'), '0'), '500ms')::interval,
                             current_setting('deadlock_timeout')::interval / 2::float8)), 1::numeric)::int::text;
    of_table        text;
    its_key         text;
BEGIN
    PERFORM set_config('client_min_messages', 'warning', true),
            set_config('lock_timeout', patience, true);
    CREATE SCHEMA IF NOT EXISTS pipelines_migrations;
    CREATE TABLE IF NOT EXISTS pipelines_migrations.applied (
        number     bigint PRIMARY KEY,
        name       text NOT NULL,
        sha256     text,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        applied_by text NOT NULL DEFAULT session_user
    );
    INSERT INTO pipelines_migrations.applied (number, name) VALUES (4, '04_audit_log') ON CONFLICT DO NOTHING;

    IF to_regnamespace('audit') IS NOT NULL THEN
        IF obj_description(to_regnamespace('audit'), 'pg_namespace') IS DISTINCT FROM its_comment THEN
            RAISE EXCEPTION 'there is a schema audit that this file did not make' USING HINT = 'Rename it, then run this again.';
        END IF;
        PERFORM set_config(key, value, true) FROM jsonb_each_text(settings_before);
        RAISE NOTICE 'The audit log is there: nothing is left to do.';
        RETURN;
    ELSIF to_regclass(format('%I.templates', application)) IS NULL OR to_regclass(format('%I.stages', application)) IS NULL THEN
        RAISE EXCEPTION 'there is no %.templates or no %.stages', application, application
            USING HINT = 'Name the application''s schema: PGOPTIONS=''-c pipelines.schema=NAME'', or --schema NAME';
    END IF;

    -- 1. The log.
    CREATE SCHEMA audit;
    EXECUTE format('COMMENT ON SCHEMA audit IS %L', its_comment);
    CREATE TABLE audit.change (
        change_id        bigint GENERATED ALWAYS AS IDENTITY,
        changed_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
        transaction_id   xid8 NOT NULL DEFAULT pg_current_xact_id(),
        session_role     text NOT NULL DEFAULT session_user,
        set_role         text DEFAULT nullif(current_setting('role'), 'none'),
        actor            text DEFAULT nullif(current_setting('audit.actor', true), ''),
        application_name text DEFAULT nullif(current_setting('application_name'), ''),
        table_schema     text NOT NULL,
        table_name       text NOT NULL,
        operation        text NOT NULL CHECK (operation IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')),
        row_key          uuid,
        old_values       jsonb,
        new_values       jsonb,
        PRIMARY KEY (changed_at, change_id)  -- a key has to have the column of the partitions
    ) PARTITION BY RANGE (changed_at);
    CREATE INDEX change_row_key ON audit.change (row_key, changed_at);
    CREATE TABLE audit.change_default PARTITION OF audit.change DEFAULT;
    COMMENT ON TABLE audit.change IS 'One line per changed row. Of an update, old_values and new_values have what changed.';

    -- 2. The months.
    CREATE FUNCTION audit.add_partitions(months integer) RETURNS SETOF text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $function$
    DECLARE
        first_day timestamptz;
        next_day  timestamptz;
        partition text;
    BEGIN
        FOR ahead IN 0 .. months LOOP
            first_day := date_trunc('month', now()) + make_interval(months => ahead);
            next_day := first_day + interval '1 month';
            partition := to_char(first_day, '"change_"YYYY_MM');
            CONTINUE WHEN to_regclass('audit.' || partition) IS NOT NULL;
            EXECUTE format('CREATE TABLE audit.%I (LIKE audit.change INCLUDING ALL EXCLUDING IDENTITY)', partition);
            EXECUTE format('WITH late AS (DELETE FROM audit.change_default WHERE changed_at >= %L AND changed_at < %L'
                           ' RETURNING *) INSERT INTO audit.%I SELECT * FROM late', first_day, next_day, partition);
            EXECUTE format('ALTER TABLE audit.change ATTACH PARTITION audit.%I FOR VALUES FROM (%L) TO (%L)',
                           partition, first_day, next_day);
            RETURN NEXT partition;
        END LOOP;
    END
    $function$;
    PERFORM audit.add_partitions(3);

    -- 3. Who may read it, and nobody may write.
    REVOKE ALL ON FUNCTION audit.add_partitions(integer) FROM PUBLIC;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'audit_reader') THEN
        BEGIN
            CREATE ROLE audit_reader NOLOGIN;
            COMMENT ON ROLE audit_reader IS 'Reads audit.change. Made by migration 04.';
        EXCEPTION
            WHEN insufficient_privilege THEN
                PERFORM set_config('client_min_messages', settings_before ->> 'client_min_messages', true);
                RAISE NOTICE 'There is no role audit_reader, and you may not make one. Who may: CREATE ROLE audit_reader; '
                             'then: GRANT USAGE ON SCHEMA audit TO audit_reader; GRANT SELECT ON audit.change TO audit_reader;';
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this server made it just now
        END;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'audit_reader') THEN
        GRANT USAGE ON SCHEMA audit TO audit_reader;
        GRANT SELECT ON audit.change TO audit_reader;
    END IF;

    -- 4. What the triggers write: with the rights of its owner, so that only a trigger may call it.
    CREATE FUNCTION audit.record_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
    DECLARE
        -- Columns that 05 fills beside the old ones, for as long as it works.
        passing CONSTANT text[] := ARRAY[
            'pipelines_new_stage_selection_template_id', 'pipelines_new_data_extraction_template_id',
            'pipelines_new_response_generation_template_id', 'pipelines_new_selection_template_id',
            'pipelines_new_extraction_template_id', 'pipelines_new_response_template_id'];
    BEGIN
        -- OFFSET 0: each row becomes JSON once, however often that is used.
        IF TG_OP = 'INSERT' THEN
            INSERT INTO audit.change (table_schema, table_name, operation, row_key, new_values)
            SELECT TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP, (n.row ->> TG_ARGV[0])::uuid, n.row
            FROM (SELECT to_jsonb(r) - passing AS row FROM new_rows r OFFSET 0) n;
        ELSIF TG_OP = 'DELETE' THEN
            INSERT INTO audit.change (table_schema, table_name, operation, row_key, old_values)
            SELECT TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP, (o.row ->> TG_ARGV[0])::uuid, o.row
            FROM (SELECT to_jsonb(r) - passing AS row FROM old_rows r OFFSET 0) o;
        ELSIF TG_OP = 'UPDATE' THEN
            INSERT INTO audit.change (table_schema, table_name, operation, row_key, old_values, new_values)
            SELECT TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP, row_key::uuid,
                   (SELECT jsonb_object_agg(key, value) FROM jsonb_each(o.row) WHERE value IS DISTINCT FROM n.row -> key),
                   (SELECT jsonb_object_agg(key, value) FROM jsonb_each(n.row) WHERE value IS DISTINCT FROM o.row -> key)
            FROM (SELECT row, row ->> TG_ARGV[0] AS row_key
                  FROM (SELECT to_jsonb(t) - passing AS row FROM old_rows t OFFSET 0) r) o
            FULL JOIN (SELECT row, row ->> TG_ARGV[0] AS row_key
                       FROM (SELECT to_jsonb(t) - passing AS row FROM new_rows t OFFSET 0) r) n USING (row_key)
            WHERE o.row IS DISTINCT FROM n.row;
        ELSE
            INSERT INTO audit.change (table_schema, table_name, operation) VALUES (TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP);
        END IF;
        RETURN NULL;
    END
    $function$;
    REVOKE ALL ON FUNCTION audit.record_change() FROM PUBLIC;

    -- 5. The triggers come last, because writers wait from here on.
    -- VACUUM gives way, but only after a while; in this mode nobody else waits behind us.
    PERFORM set_config('lock_timeout', '0', true);
    EXECUTE format('LOCK TABLE %1$I.stages, %1$I.templates IN SHARE UPDATE EXCLUSIVE MODE', application);
    PERFORM set_config('lock_timeout', patience, true);
    -- Nobody waits for a client that sleeps in front of its COMMIT.
    PERFORM set_config('idle_in_transaction_session_timeout', '5s', true);
    EXECUTE format('LOCK TABLE %1$I.stages, %1$I.templates IN SHARE ROW EXCLUSIVE MODE', application);
    FOR of_table, its_key IN VALUES ('stages', 'stage_id'), ('templates', 'template_id') LOOP
        EXECUTE format(
            'CREATE TRIGGER audit_insert AFTER INSERT ON %3$I.%1$I REFERENCING NEW TABLE AS new_rows'
            ' FOR EACH STATEMENT EXECUTE FUNCTION audit.record_change(%2$L);'
            'CREATE TRIGGER audit_update AFTER UPDATE ON %3$I.%1$I REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
            ' FOR EACH STATEMENT EXECUTE FUNCTION audit.record_change(%2$L);'
            'CREATE TRIGGER audit_delete AFTER DELETE ON %3$I.%1$I REFERENCING OLD TABLE AS old_rows'
            ' FOR EACH STATEMENT EXECUTE FUNCTION audit.record_change(%2$L);'
            'CREATE TRIGGER audit_truncate AFTER TRUNCATE ON %3$I.%1$I'
            ' FOR EACH STATEMENT EXECUTE FUNCTION audit.record_change(%2$L);'
            'ALTER TABLE %3$I.%1$I ENABLE ALWAYS TRIGGER audit_insert, ENABLE ALWAYS TRIGGER audit_update,'
            ' ENABLE ALWAYS TRIGGER audit_delete, ENABLE ALWAYS TRIGGER audit_truncate', of_table, its_key, application);
    END LOOP;
    PERFORM set_config(key, value, true) FROM jsonb_each_text(settings_before);
END
$migration$;

-- The session's own path again.
DO $path$
BEGIN
    PERFORM pg_catalog.set_config('search_path', coalesce(pg_catalog.current_setting('pipelines.path', true), 'public'), false);
END
$path$;
