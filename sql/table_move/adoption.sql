-- name: is_settled
-- Whether the pairs are fixed: it is done once in a move.
SELECT EXISTS (SELECT FROM pipelines.batch WHERE move = {move} AND phase = 'adoption');

-- name: target_has_rows
-- An empty target has nothing to adopt.
SELECT EXISTS (SELECT FROM {target});

-- name: places
-- Source rows whose carried columns stand in the target already, with their bytes: what is worth mapping beforehand.
SELECT s.ctid::text, ({source_bytes})::bigint FROM {source} s
WHERE {carried_of_s} IN (SELECT {carried_of_t} FROM {target} t);

-- name: clear
-- The working table is empty between runs.
DELETE FROM pipelines.candidate WHERE move = {move};

-- name: copy_candidates
-- Mapped rows that may have an equal one.
COPY pipelines.candidate (source_id, owner_id, owner_rule, target_id, source_hash, target_hash, move)
FROM STDIN (FORMAT csv)

-- name: pair
-- At most one source row per target row and the other way round, smallest ids first. A row whose own id is taken in the
-- target is no candidate, and a target row that has the id of a source row is not free.
INSERT INTO pipelines.id_map (move, source_id, owner_id, target_id, disposition, owner_rule, loaded, source_hash,
                              target_hash, run_id)
SELECT {move}, c.source_id, c.owner_id, f.target_id, 'adopted', c.owner_rule, false, c.source_hash, c.target_hash,
       %(run_id)s
FROM (
    SELECT c.*, row_number() OVER (PARTITION BY c.owner_id, c.target_hash ORDER BY c.source_id) AS place
    FROM pipelines.candidate c LEFT JOIN {target} t ON t.{target_key} = c.target_id
    WHERE c.move = {move} AND t.{target_key} IS NULL
) c JOIN (
    SELECT t.{target_key} AS target_id, {owner_of_t} AS owner_id, {target_hash} AS target_hash,
           row_number() OVER (PARTITION BY {owner_of_t}, {target_hash} ORDER BY t.{target_key}) AS place
    FROM {target} t LEFT JOIN {source} s ON {primary_id} = t.{target_key}
    WHERE s.{source_key} IS NULL
) f USING (owner_id, target_hash, place);
