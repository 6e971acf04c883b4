-- name: touch
-- What may have moved since the last look: ids of source rows, and whatever new versions of referencing rows hold;
-- conflicts, which are decided anew.
INSERT INTO pipelines.touched (move, source_id)
SELECT {move}, s.{source_key}::text COLLATE "C" FROM {source} s WHERE {s_is_new}
UNION
SELECT {move}, r.value FROM ({references}) r WHERE {r_is_new} AND r.value IS NOT NULL
UNION
SELECT {move}, m.source_id FROM pipelines.id_map m WHERE m.move = {move} AND m.disposition = 'conflict'
ON CONFLICT DO NOTHING;

-- name: touch_target
-- The same of the target: rows whose place there has a new version or is empty. The ids of its new versions stand for
-- the references that hold them.
INSERT INTO pipelines.touched (move, source_id)
WITH moved AS MATERIALIZED (SELECT t.{target_key} AS id FROM {target} t WHERE {t_is_new})
SELECT {move}, t.id::text FROM moved t
UNION
SELECT {move}, m.source_id FROM moved t JOIN pipelines.id_map m ON m.target_id = t.id AND m.move = {move}
UNION
SELECT {move}, m.source_id FROM pipelines.id_map m LEFT JOIN {target} t ON t.{target_key} = m.target_id
WHERE m.move = {move} AND t.{target_key} IS NULL
ON CONFLICT DO NOTHING;

-- name: untouch
-- The working table is empty between runs.
DELETE FROM pipelines.touched WHERE move = {move};

-- name: something_vanished
-- Whether a source row or an owner of the map is gone, by counting: what source and map have in common was settled, so
-- that source rows are those of the map and the rejects, those that are new, less those that are gone.
SELECT (SELECT count(*) FROM {source} s)
     < (SELECT count(*) FROM pipelines.id_map m WHERE m.move = {move} AND m.owner_rule <> 'copy')
     + (SELECT count(DISTINCT r.source_id) FROM pipelines.rejected r WHERE r.move = {move} AND NOT EXISTS (
            SELECT FROM pipelines.id_map m
            WHERE m.move = {move} AND m.source_id = r.source_id AND m.owner_rule <> 'copy'))
     + (SELECT count(*) FROM {source} s JOIN pipelines.touched u
            ON u.move = {move} AND u.source_id = s.{source_key}::text COLLATE "C"
        WHERE NOT EXISTS (SELECT FROM pipelines.id_map m WHERE m.move = {move} AND m.source_id = u.source_id
                          AND m.owner_rule <> 'copy')
          AND NOT EXISTS (SELECT FROM pipelines.rejected r WHERE r.move = {move} AND r.source_id = u.source_id))
    OR EXISTS (SELECT FROM (SELECT DISTINCT owner_id FROM pipelines.id_map WHERE move = {move}) m
               LEFT JOIN {owners} o ON o.{owners_key} = m.owner_id WHERE o.{owners_key} IS NULL);

-- name: stale
-- Source rows that the map does not show as they are, with the bytes of their texts: new or changed, claimed by an owner
-- without a copy, in conflict, or with a target row that is missing or edited.
SELECT s.ctid::text, ({source_bytes})::bigint FROM {source} s
LEFT JOIN pipelines.id_map m
       ON m.move = {move} AND m.source_id = s.{source_key}::text COLLATE "C" AND m.owner_rule <> 'copy'
WHERE {s_in_question} AND m.source_hash IS DISTINCT FROM {source_hash}
UNION
SELECT s.ctid::text, ({source_bytes})::bigint FROM {source} s JOIN (
    SELECT c.source_id FROM pipelines.claim c
    LEFT JOIN pipelines.id_map m ON m.move = c.move AND m.source_id = c.source_id AND m.owner_id = c.owner_id
    WHERE c.move = {move} AND {c_in_question} AND m.move IS NULL
    UNION ALL
    SELECT m.source_id FROM pipelines.id_map m LEFT JOIN {target} t ON t.{target_key} = m.target_id
    WHERE m.move = {move} AND {m_in_question}
      AND (m.disposition = 'conflict' OR {target_hash} IS DISTINCT FROM m.target_hash)
) x ON x.source_id = s.{source_key}::text COLLATE "C";

-- name: target_has_moved
-- Touched rows of the map that the target does not show as they are: edited or gone. Conflicts were decided just now.
SELECT EXISTS (
    SELECT FROM pipelines.id_map m LEFT JOIN {target} t ON t.{target_key} = m.target_id
    WHERE m.move = {move} AND {m_in_question} AND m.disposition <> 'conflict'
      AND {target_hash} IS DISTINCT FROM m.target_hash);

-- name: was_touched
-- Only what may have moved since the last look.
{id} IN (SELECT u.source_id FROM pipelines.touched u WHERE u.move = {move})

-- name: drop_orphans
-- Map rows whose source row or owner is gone take the target rows that this move inserted with them.
WITH gone AS (
    DELETE FROM pipelines.id_map m USING (
        SELECT m.source_id, m.owner_id FROM pipelines.id_map m
        LEFT JOIN {source} s ON s.{source_key}::text COLLATE "C" = m.source_id
        LEFT JOIN {owners} o ON o.{owners_key} = m.owner_id
        WHERE m.move = {move} AND (s.{source_key} IS NULL OR o.{owners_key} IS NULL)
    ) orphan
    WHERE m.move = {move} AND m.source_id = orphan.source_id AND m.owner_id = orphan.owner_id
    RETURNING m.target_id, m.loaded, m.source_id
), touched AS (
    INSERT INTO pipelines.touched (move, source_id) SELECT DISTINCT {move}, source_id FROM gone ON CONFLICT DO NOTHING
) SELECT target_id::text FROM gone WHERE loaded;

-- name: drop_rejected_orphans
-- Rejects whose source row is gone.
DELETE FROM pipelines.rejected r WHERE r.move = {move}
AND NOT EXISTS (SELECT FROM {source} s WHERE s.{source_key}::text COLLATE "C" = r.source_id);

-- name: promote
-- A source row whose primary owner is gone: the smallest of its other owners takes the place, with the id it has.
UPDATE pipelines.id_map m SET owner_rule = 'references' FROM (
    SELECT source_id, (min(owner_id::text))::uuid AS owner_id FROM pipelines.id_map WHERE move = {move}
    GROUP BY source_id HAVING bool_and(owner_rule = 'copy')
) heir WHERE m.move = {move} AND m.source_id = heir.source_id AND m.owner_id = heir.owner_id;
