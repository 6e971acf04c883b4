-- name: build_claims
-- How often each owner refers to each value: one grouping per column, which the planner sizes rightly.
INSERT INTO pipelines.claim (move, source_id, owner_id, uses)
SELECT {move}, c.value, c.owner_id, sum(c.uses) FROM (
{claims}
) c GROUP BY c.value, c.owner_id;

-- name: build_claims_of_touched
-- The same of what may have moved since the last look.
INSERT INTO pipelines.claim (move, source_id, owner_id, uses)
SELECT {move}, r.value, r.owner_id, count(*) FROM ({references}) r
JOIN pipelines.touched u ON u.move = {move} AND u.source_id = r.value
WHERE r.owner_id IS NOT NULL GROUP BY r.value, r.owner_id;

-- name: clear_claims_of_touched
-- Before they are counted anew.
DELETE FROM pipelines.claim c USING pipelines.touched u
WHERE c.move = {move} AND u.move = {move} AND u.source_id = c.source_id;

-- name: has_claims
-- Whether claims have been counted: they are forgotten when the move is done.
EXISTS (SELECT FROM pipelines.claim h WHERE h.move = {move})

-- name: clear_claims
-- The working table is empty between runs.
DELETE FROM pipelines.claim WHERE move = {move};

-- name: has_assigned
-- Whether a person has named owners of single rows.
SELECT EXISTS (SELECT FROM pipelines.assigned_owner WHERE move = {move});

-- name: clear_assigned
-- Before a new file of owners takes the place of the old one.
DELETE FROM pipelines.assigned_owner WHERE move = {move};

-- name: assign
-- The owners that a person has named.
INSERT INTO pipelines.assigned_owner (move, source_id, owner_id)
SELECT {move}, a.source_id, a.owner_id FROM ({assigned}) a;

-- name: byte_ranges
-- Where to cut the table so that no range holds much more than the given bytes, wide values counted unpacked.
SELECT min(place)::text FROM (
    SELECT s.ctid AS place, sum({source_bytes} + 64) OVER (ORDER BY s.ctid) / %(batch_bytes)s AS bucket FROM {source} s
) cut GROUP BY bucket ORDER BY min(place);

-- name: read
-- The rows of one range with what decides about their owners. A LATERAL look-up keeps claims and map an index look-up.
SELECT s.{source_key}::text, {source_texts}, {source_hash}, c.claims, {assigned}, {decided}, {present}
FROM {source} s
LEFT JOIN LATERAL (SELECT string_agg(c.owner_id || '=' || c.uses, ' ') AS claims FROM pipelines.claim c
                   WHERE c.move = {move} AND c.source_id = s.{source_key}::text COLLATE "C" AND {claim_filter}) c ON true
WHERE {selected};

-- name: assigned
-- The owner that a person has named for a source row.
(SELECT a.owner_id FROM pipelines.assigned_owner a JOIN {owners} o ON o.{owners_key} = a.owner_id
 WHERE a.move = {move} AND a.source_id = s.{source_key}::text COLLATE "C")

-- name: decided
-- The owners that the map has for a source row already. One that met another row under its id is decided anew.
(SELECT string_agg(m.owner_id || '=' || m.owner_rule || '=' || m.target_id, ' ') FROM pipelines.id_map m
 WHERE m.move = {move} AND m.source_id = s.{source_key}::text COLLATE "C"
   AND EXISTS (SELECT FROM {owners} o WHERE o.{owners_key} = m.owner_id)
   AND NOT EXISTS (SELECT FROM pipelines.id_map u WHERE u.move = m.move AND u.source_id = m.source_id
                   AND u.owner_rule <> 'copy' AND u.disposition = 'conflict' AND NOT u.loaded
                   AND u.target_id = {primary_id}))

-- name: present
-- The owner and the fingerprint of the row that stands in the target under the id of a source row.
(SELECT {owner_of_t} || '=' || {target_hash} FROM {target} t WHERE t.{target_key} = {primary_id}
 AND EXISTS (SELECT FROM {owners} o WHERE o.{owners_key} = {owner_of_t}))

-- name: claimant_exists
-- Claims of owners that are gone do not count.
EXISTS (SELECT FROM {owners} o WHERE o.{owners_key} = c.owner_id)
