-- name: create
-- The journal, made once per database. All DDL is one transaction; the comment carries the version.
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

-- name: version
-- The comment of the journal's schema, or no row where there is no journal.
SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'pipelines';

-- name: load
-- How far a move is committed.
SELECT milestone, fence, source_oid, target_oid, mapping, default_owner::text, retired_schema, write_pause_ms,
       switched_xmin IS NOT NULL, place
FROM pipelines.move WHERE move = %(move)s;

-- name: world
-- How far a move is committed, where the old table or its archive is, and whether the newest attempt is one to go back.
SELECT m.milestone, m.retired_schema, r.archive ->> 'folder',
       (SELECT n.phase FROM pipelines.run n WHERE n.move = m.move ORDER BY n.run_id DESC LIMIT 1) IS NOT DISTINCT FROM 'rollback'
FROM pipelines.move m LEFT JOIN pipelines.retired_table r USING (move) WHERE m.move = %(move)s;

-- name: who
-- Who acts, and who connected.
SELECT current_user::text, session_user::text;

-- name: relation_exists
-- Whether the application has a table of this name; asks for no lock on it.
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = %(schema)s AND c.relname = %(table)s);

-- name: retired_schemas
-- The schemas of retired tables that the journal knows of.
SELECT retired_schema FROM pipelines.move WHERE retired_schema IS NOT NULL;

-- name: last_run
-- The newest attempt of a move. Version 0.1 noted the server's own words, which hold rows.
SELECT run_id, state, phase, started_at, finished_at,
       CASE WHEN error IS NOT NULL AND starts_with(code_version, '0.1.')
            THEN 'An earlier version noted the reason; it may hold data and is not shown.' ELSE error END AS error, rows_written, timings, summary
FROM pipelines.run WHERE move = %(move)s AND (%(run_id)s IS NULL OR run_id = %(run_id)s)
ORDER BY run_id DESC LIMIT 1;

-- name: went_back
-- What the attempts before this one have taken back, each sum with those before it, where they had brought the old world
-- back and nothing has gone forward since.
SELECT summary -> 'rollback' FROM pipelines.run
WHERE move = %(move)s AND run_id < %(run_id)s AND phase = 'rollback' AND summary ->> 'world' = 'old_in_charge'
  AND run_id > coalesce((SELECT max(n.run_id) FROM pipelines.run n
                         WHERE n.move = %(move)s AND n.run_id < %(run_id)s
                           AND (n.phase <> 'rollback' OR n.state = 'rolled_back')), 0)
ORDER BY run_id DESC LIMIT 1;

-- name: runs
-- Every attempt of a move, the newest first; errors as in last_run.
SELECT run_id, state, phase, to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS started_at,
       round(extract(epoch FROM finished_at - started_at)::numeric, 1)::float8 AS seconds, rows_written,
       CASE WHEN error IS NOT NULL AND starts_with(code_version, '0.1.')
            THEN 'An earlier version noted the reason; it may hold data and is not shown.' ELSE error END AS error,
       summary -> 'gate' AS gate, summary IS NOT NULL AS has_report
FROM pipelines.run WHERE move = %(move)s ORDER BY run_id DESC;

-- name: begin
-- A new attempt.
INSERT INTO pipelines.run (move, state, phase, code_version, settings)
VALUES (%(move)s, 'running', %(phase)s, %(code_version)s, %(settings)s) RETURNING run_id;

-- name: note_idle_run
-- An attempt that found nothing to do: its own row, finished at once, and nothing else.
INSERT INTO pipelines.run (move, state, phase, finished_at, code_version, settings, summary)
VALUES (%(move)s, %(state)s, %(phase)s, clock_timestamp(), %(code_version)s, %(settings)s, %(summary)s) RETURNING run_id;

-- name: abandon
-- Attempts that ended without a word were interrupted.
UPDATE pipelines.run SET state = 'interrupted', finished_at = clock_timestamp()
WHERE move = %(move)s AND state = 'running' AND run_id <> %(run_id)s;

-- name: take_over
-- Open the move, or take it over: from here only this run may write.
INSERT INTO pipelines.move (move, source_schema, source_table, source_oid, target_oid, milestone, fence, mapping,
                            default_owner, place)
VALUES (%(move)s, %(source_schema)s, %(source_table)s, %(source_oid)s, %(target_oid)s, 'copying', %(run_id)s,
        %(mapping)s, %(default_owner)s, %(place)s)
ON CONFLICT (move) DO UPDATE SET fence = excluded.fence,
    default_owner = coalesce(excluded.default_owner, pipelines.move.default_owner)
RETURNING milestone;

-- name: settle_in
-- A restored journal takes the tables that stand here for its own. What was numbered at the old place says nothing here:
-- nobody knows what is settled, and no range of a file is taken for copied.
UPDATE pipelines.move SET place = %(place)s, source_oid = coalesce(%(source_oid)s, source_oid),
    target_oid = coalesce(%(target_oid)s, target_oid), settled_xmin = NULL, switched_xmin = NULL,
    target_columns = (SELECT jsonb_object_agg(attname, attnum) FROM pg_attribute
                      WHERE attrelid = %(target_oid)s::oid AND attnum > 0 AND NOT attisdropped)
WHERE move = %(move)s AND milestone = %(milestone)s;
UPDATE pipelines.batch SET filenode = 0 WHERE move = %(move)s;
UPDATE pipelines.foreign_key k SET table_oid = c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.move = %(move)s AND n.nspname = %(schema)s AND c.relname = k.table_name;

-- name: unlike_the_map
-- Rows of the frozen table that are not as the map knows them, and rows of the map that are not there: how many there
-- are, and the keys of a few.
SELECT count(*) OVER (), source_id FROM (SELECT s.{source_key}::text COLLATE "C" AS source_id, {source_hash} AS hash FROM {source} s) s
FULL JOIN (SELECT source_id, source_hash FROM pipelines.id_map WHERE move = {move} AND owner_rule <> 'copy') m
     USING (source_id)
WHERE s.hash IS DISTINCT FROM m.source_hash ORDER BY 2 LIMIT 5;

-- name: other_columns
-- Columns of the target that are other ones than at the switch: made anew, or with the name of another one.
SELECT c.name FROM pipelines.move v CROSS JOIN jsonb_each_text(v.target_columns) AS c (name, place)
LEFT JOIN pg_attribute a ON a.attrelid = %(oid)s::oid AND a.attname = c.name AND NOT a.attisdropped
WHERE v.move = {move} AND a.attnum IS DISTINCT FROM c.place::int ORDER BY 1;

-- name: target_is_known
-- Whether a row of the map stands in the target, or there is none to stand there.
SELECT NOT EXISTS (SELECT FROM pipelines.id_map WHERE move = {move})
    OR EXISTS (SELECT FROM pipelines.id_map m JOIN {target} t ON t.{target_key} = m.target_id WHERE m.move = {move});

-- name: hold_fence
-- In every writing transaction: a row only while no other run has taken over, which then has to wait for this commit.
SELECT 1 FROM pipelines.move WHERE move = %(move)s AND fence = %(run_id)s FOR SHARE;

-- name: reach
-- Commit a milestone together with the work it stands for; a row only along an allowed transition. The switch also
-- notes which transactions may have written before it: it holds the locks that keep writers out. Once the old world is in
-- force again, nobody knows what is settled.
UPDATE pipelines.move SET milestone = %(milestone)s,
    retired_schema = CASE WHEN %(milestone)s IN ('retired', 'confirmed') THEN coalesce(%(retired_schema)s, retired_schema) END,
    write_pause_ms = coalesce(%(write_pause_ms)s, write_pause_ms),
    switched_xmin = CASE WHEN milestone = 'copying' THEN pg_snapshot_xmin(pg_current_snapshot()) ELSE switched_xmin END,
    target_columns = CASE WHEN milestone = 'copying' THEN (
        SELECT jsonb_object_agg(attname, attnum) FROM pg_attribute
        WHERE attrelid = target_oid AND attnum > 0 AND NOT attisdropped) ELSE target_columns END,
    settled_xmin = CASE WHEN %(milestone)s <> 'copying' THEN settled_xmin END
WHERE move = %(move)s AND fence = %(run_id)s AND milestone = ANY (%(from)s);

-- name: settled
-- Up to which transaction everything is in target and map, before the switch; no row where nobody knows, or where that
-- transaction is still to come: it was one of another server.
SELECT settled_xmin::text::bigint FROM pipelines.move
WHERE move = %(move)s AND settled_xmin <= pg_snapshot_xmax(pg_current_snapshot());

-- name: note_settled
-- The same, written down.
UPDATE pipelines.move SET settled_xmin = %(settled)s::text::xid8 WHERE move = %(move)s AND fence = %(run_id)s;

-- name: enter_phase
-- The phase that an attempt is in.
UPDATE pipelines.run SET phase = %(phase)s WHERE run_id = %(run_id)s;

-- name: note_pause
-- How long writers had to wait, measured from the locks to the answered commit.
UPDATE pipelines.move SET write_pause_ms = %(write_pause_ms)s WHERE move = %(move)s AND fence = %(run_id)s;

-- name: finish
-- The end of an attempt.
UPDATE pipelines.run SET state = %(state)s, phase = %(phase)s, finished_at = clock_timestamp(), error = %(error)s,
    rows_written = %(rows_written)s, timings = %(timings)s, summary = %(summary)s
WHERE run_id = %(run_id)s;

-- name: add_batch
-- One line per committed batch, in its own transaction.
INSERT INTO pipelines.batch (run_id, move, phase, range, filenode, rows)
VALUES (%(run_id)s, %(move)s, %(phase)s, %(range)s, %(filenode)s, %(rows)s);

-- name: committed_ranges
-- The ranges of the source that are copied, as far as it was not rewritten since.
SELECT range, rows FROM pipelines.batch WHERE move = %(move)s AND phase = 'copy' AND filenode = %(filenode)s;

-- name: add_check
-- One line per expectation.
INSERT INTO pipelines.check_result (run_id, phase, suite, expectation, severity, success, observed, unexpected_count,
                                    reason, remedy, samples, error, seconds)
VALUES (%(run_id)s, %(phase)s, %(suite)s, %(expectation)s, %(severity)s, %(success)s, %(observed)s,
        %(unexpected_count)s, %(reason)s, %(remedy)s, %(samples)s, %(error)s, %(seconds)s)
ON CONFLICT (run_id, phase, suite, expectation) DO UPDATE SET severity = excluded.severity,
    success = excluded.success, observed = excluded.observed, unexpected_count = excluded.unexpected_count,
    reason = excluded.reason, remedy = excluded.remedy, samples = excluded.samples, error = excluded.error, seconds = excluded.seconds;

-- name: checks
-- The expectations of a run, in the order of their phases; errors as in last_run.
SELECT c.phase, suite, expectation, severity, success,
       CASE WHEN NOT starts_with(code_version, '0.1.') THEN observed END AS observed, unexpected_count, reason, remedy,
       samples, CASE WHEN c.error IS NOT NULL AND starts_with(code_version, '0.1.')
            THEN 'An earlier version noted the reason; it may hold data and is not shown.' ELSE c.error END AS error, seconds
FROM pipelines.check_result c JOIN pipelines.run USING (run_id) WHERE run_id = %(run_id)s
ORDER BY array_position(ARRAY['verify', 'cutover', 'confirm'], c.phase),
         array_position(ARRAY['source', 'target', 'references', 'reconciliation'], suite), severity, expectation;

-- name: lock_holder
-- The session that holds the advisory lock of this move, if any. It has said nothing since it took it, so that its state
-- is as old as that; behind a pooler its backend may be older. NULL where our role may not look into it.
SELECT a.pid, a.application_name, coalesce(a.client_addr::text, 'local'), a.state_change
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid = %(class)s::bigint::oid AND l.objid = %(object)s::bigint::oid;
