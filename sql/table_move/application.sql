-- name: insert_new
-- Under the application's path (see `connect.as_application`), like all statements of this file: every operator and every
-- function is written with its schema, so that nothing of ours is found in the application's. The fast way into the target.
INSERT INTO {target} ({written}) SELECT {staged} FROM pg_temp.staged st;

-- name: insert_missing
-- Target rows that are not there yet.
WITH inserted AS (
    INSERT INTO {target} ({written})
    SELECT {staged} FROM pg_temp.staged st
    WHERE NOT EXISTS (SELECT FROM {target} t WHERE t.{target_key} OPERATOR(pg_catalog.=) st.target_id)
    ON CONFLICT ({target_key}) DO NOTHING RETURNING {target_key} AS target_id
) INSERT INTO pg_temp.loaded SELECT target_id FROM inserted;

-- name: update_changed
-- Rows of ours whose source changed since; they are locked.
UPDATE {target} t SET {target_assignments} FROM pg_temp.staged st
WHERE t.{target_key} OPERATOR(pg_catalog.=) st.target_id
  AND st.target_id OPERATOR(pg_catalog.=) ANY (%(target_ids)s::pg_catalog.uuid[]);

-- name: delete
-- Target rows that have to go.
DELETE FROM {target} t WHERE t.{target_key} OPERATOR(pg_catalog.=) ANY (%(target_ids)s::pg_catalog.uuid[]);

-- name: apply_changes
-- All columns of a row in one update, which skips rows that somebody changed meanwhile. Returns for how many rows there
-- was a plan, and how many were changed.
WITH n AS MATERIALIZED (
    SELECT c.row_key, {planned} FROM pipelines.reference_change c
    WHERE c.move OPERATOR(pg_catalog.=) {move} AND c.change_id OPERATOR(pg_catalog.>) %(mark)s
      AND c.table_name OPERATOR(pg_catalog.=) {table_name} GROUP BY c.row_key
), changed AS (
    UPDATE {table} r SET {assignments} FROM n WHERE r.{key}::pg_catalog.text COLLATE pg_catalog."C" OPERATOR(pg_catalog.=) n.row_key AND {untouched}
    RETURNING 1
) SELECT (SELECT pg_catalog.count(*) FROM n), pg_catalog.count(*) FROM changed;

-- name: apply_back
-- The same on the way back, of rows that are locked.
UPDATE {table} r SET {assignments} FROM (
    SELECT b.row_key, {old_values} FROM pg_temp.back b
    WHERE b.table_name OPERATOR(pg_catalog.=) {table_name} GROUP BY b.row_key
) n WHERE r.{key}::pg_catalog.text COLLATE pg_catalog."C" OPERATOR(pg_catalog.=) n.row_key;

-- name: apply_edits
-- The old rows take edits, only in the columns that were edited.
UPDATE {source} s SET {assignments} FROM pg_temp.edit e
WHERE s.{source_key}::pg_catalog.text COLLATE pg_catalog."C" OPERATOR(pg_catalog.=) e.source_id;

-- name: delete_old
-- Old rows whose deletion in the target is carried back.
DELETE FROM {source} s
WHERE s.{source_key}::pg_catalog.text COLLATE pg_catalog."C" OPERATOR(pg_catalog.=) ANY (%(source_ids)s::pg_catalog.text[]);
