-- name: stale
-- Source rows that the map does not show as they are, with the bytes of their texts: new or changed, claimed by an owner
-- without a copy, in conflict, or with a target row that is missing or edited.
SELECT s.ctid::text, ({source_bytes})::bigint FROM {source} s
LEFT JOIN pipelines.id_map m
       ON m.move = {move} AND m.source_id = s.{source_key}::text COLLATE "C" AND m.owner_rule <> 'copy'
WHERE m.source_hash IS DISTINCT FROM {source_hash}
UNION
SELECT s.ctid::text, ({source_bytes})::bigint FROM {source} s JOIN (
    SELECT c.source_id FROM pipelines.claim c
    LEFT JOIN pipelines.id_map m ON m.move = c.move AND m.source_id = c.source_id AND m.owner_id = c.owner_id
    WHERE c.move = {move} AND m.move IS NULL
    UNION ALL
    SELECT m.source_id FROM pipelines.id_map m LEFT JOIN {target} t ON t.{target_key} = m.target_id
    WHERE m.move = {move} AND (m.disposition = 'conflict' OR {target_hash} IS DISTINCT FROM m.target_hash)
) x ON x.source_id = s.{source_key}::text COLLATE "C";

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
    RETURNING m.target_id, m.loaded
) DELETE FROM {target} t USING gone WHERE gone.loaded AND t.{target_key} = gone.target_id;

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
