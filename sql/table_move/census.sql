-- name: predicted
-- What every source row would become: its primary owner by the first rule that answers, and its disposition as far as
-- SQL can tell it (by the columns that are carried as they are; names and the like are compared when it is copied).
claimed AS MATERIALIZED (
    SELECT value, owner_id, sum(uses) AS uses FROM ({claims}) c GROUP BY value, owner_id
), ranked AS MATERIALIZED (
    SELECT value, owner_id, row_number() OVER (PARTITION BY value ORDER BY uses DESC, owner_id) AS rank FROM claimed
), named AS MATERIALIZED (
    {assigned}
), taken AS MATERIALIZED (
    SELECT s.{source_key}::text COLLATE "C" AS source_id, t.{target_key} AS target_id, {owner_of_t} AS owner_id,
           {carried_of_s} = {carried_of_t} AS alike
    FROM {target} t JOIN {source} s ON {primary_id} = t.{target_key} WHERE {target_has_rows}
), present AS MATERIALIZED (
    SELECT p.source_id, p.owner_id, %(keep_target)s OR p.alike AND (c.owner_id IS NOT NULL OR r.value IS NULL) AS stays
    FROM taken p LEFT JOIN claimed c ON c.value = p.source_id AND c.owner_id = p.owner_id
    LEFT JOIN ranked r ON r.value = p.source_id AND r.rank = 1
), predicted AS MATERIALIZED (
    SELECT s.{source_key}::text COLLATE "C" AS source_id, {is_canonical} AS keeps_id,
           CASE WHEN p.stays THEN p.owner_id ELSE coalesce(n.owner_id, r.owner_id, %(default_owner)s::uuid) END AS owner_id,
           CASE WHEN p.stays THEN 'present' WHEN n.owner_id IS NOT NULL THEN 'owners_file'
                WHEN r.owner_id IS NOT NULL THEN 'references'
                WHEN %(default_owner)s::uuid IS NOT NULL THEN 'default' END AS rule,
           CASE WHEN p.stays THEN 'already_present' WHEN p.source_id IS NOT NULL THEN 'conflict' ELSE 'inserted' END
           AS disposition
    FROM {source} s
    LEFT JOIN ranked r ON r.value = s.{source_key}::text COLLATE "C" AND r.rank = 1
    LEFT JOIN named n ON n.source_id = s.{source_key}::text COLLATE "C"
    LEFT JOIN present p ON p.source_id = s.{source_key}::text COLLATE "C"
)

-- name: outlook
-- Rows, copies for other owners, rows without an owner, rows whose id is taken, pairs that may be adopted, rows by rule,
-- references by the class that they would have.
WITH {predicted}, copies AS MATERIALIZED (
    SELECT p.source_id, c.owner_id FROM claimed c JOIN predicted p ON p.source_id = c.value
    WHERE c.owner_id IS DISTINCT FROM p.owner_id
), there AS MATERIALIZED (
    SELECT {owner_of_t} AS owner_id, {carried_of_t} AS digest, count(*) AS rows
    FROM {target} t LEFT JOIN taken k ON k.target_id = t.{target_key}
    WHERE {target_has_rows} AND k.target_id IS NULL GROUP BY 1, 2
), alike AS MATERIALIZED (
    SELECT s.{source_key}::text COLLATE "C" AS source_id, {carried_of_s} AS digest FROM {source} s
    WHERE {target_has_rows} AND {carried_of_s} IN (SELECT digest FROM there)
), due AS (
    SELECT d.owner_id, s.digest, count(*) AS rows FROM alike s JOIN (
        SELECT source_id, owner_id FROM predicted WHERE disposition = 'inserted' UNION ALL SELECT * FROM copies
    ) d ON d.source_id = s.source_id GROUP BY 1, 2
), classes AS (
    SELECT CASE WHEN r.value IS NULL THEN 'null'
                WHEN p.owner_id = r.owner_id AND p.keeps_id AND r.written = r.value THEN 'already_current'
                WHEN p.source_id IS NOT NULL THEN 'to_rewire'
                WHEN {owner_of_t} = r.owner_id THEN 'already_current'
                WHEN t.{target_key} IS NOT NULL THEN 'foreign'
                ELSE 'dangling' END AS class, count(*) AS rows
    FROM ({references}) r
    LEFT JOIN predicted p ON p.source_id = r.value
    LEFT JOIN {target} t ON t.{target_key}::text COLLATE "C" = r.written
    GROUP BY 1
)
SELECT (SELECT count(*) FROM predicted), (SELECT count(*) FROM copies),
       (SELECT count(*) FROM predicted WHERE rule IS NULL),
       (SELECT count(*) FROM predicted WHERE disposition = 'already_present'),
       (SELECT count(*) FROM predicted WHERE disposition = 'conflict'),
       (SELECT coalesce(sum(least(d.rows, t.rows)), 0)::bigint FROM due d JOIN there t USING (owner_id, digest)),
       (SELECT jsonb_object_agg(rule, rows) FROM (SELECT rule, count(*) AS rows FROM predicted WHERE rule IS NOT NULL
                                                  GROUP BY rule) by_rule),
       (SELECT jsonb_object_agg(class, rows) FROM classes);

-- name: without_owner
-- Some rows that no rule gives an owner.
WITH {predicted} SELECT source_id FROM predicted WHERE rule IS NULL ORDER BY 1 LIMIT 5;

-- name: owner_candidates
-- A few owners that rows could be given to, those that refer most often first.
SELECT o.{owners_label}::text COLLATE "C" FROM {owners} o
LEFT JOIN (SELECT owner_id, sum(uses) AS uses FROM ({claims}) c GROUP BY owner_id) c ON c.owner_id = o.{owners_key}
ORDER BY coalesce(c.uses, 0) DESC, 1 LIMIT 5;

-- name: assigned_now
-- The owners that a person names in this call.
SELECT a.source_id COLLATE "C" AS source_id, a.owner_id
FROM unnest(%(assigned_ids)s::text[], %(assigned_owners)s::uuid[]) AS a (source_id, owner_id)

-- name: assigned_before
-- The owners that a person has named in an earlier call.
SELECT a.source_id, a.owner_id FROM pipelines.assigned_owner a JOIN {owners} o ON o.{owners_key} = a.owner_id
WHERE a.move = {move}

-- name: assigned_never
-- Nobody has named an owner.
SELECT NULL::text COLLATE "C" AS source_id, NULL::uuid AS owner_id WHERE false

-- name: unknown_in_owners_file
-- Lines of the file that name a row or an owner that is not there.
SELECT a.source_id, a.owner_id::text, s.{source_key} IS NULL AS unknown_row FROM ({assigned}) a
LEFT JOIN {source} s ON s.{source_key}::text COLLATE "C" = a.source_id
LEFT JOIN {owners} o ON o.{owners_key} = a.owner_id
WHERE s.{source_key} IS NULL OR o.{owners_key} IS NULL ORDER BY 3, 1 LIMIT 5;

-- name: decided
-- Rows with an owner that is decided for good: those that met another row under their id are decided anew, and so are
-- those whose owner is gone.
SELECT m.source_id, m.owner_id, m.owner_rule FROM pipelines.id_map m JOIN {owners} o ON o.{owners_key} = m.owner_id
WHERE m.move = {move} AND m.owner_rule <> 'copy' AND NOT (m.disposition = 'conflict' AND NOT m.loaded)

-- name: decided_otherwise
-- Decided rows that the default owner, or the file of owners, of this call would have given to somebody else: how many
-- there are, and the owner and the keys of a few.
SELECT count(*) OVER (), d.source_id, d.owner_id::text FROM ({decided}) d WHERE {otherwise} ORDER BY 2 LIMIT 5;

-- name: not_the_default
-- A row of the default owner, which is another one now.
d.owner_rule = 'default' AND d.owner_id <> %(default_owner)s::uuid

-- name: not_as_in_the_file
-- A row that the file gives to somebody else, or that an earlier file gave away and this one does not name. Rows that
-- stood in the target already come before the file.
d.owner_rule <> 'present' AND CASE WHEN d.source_id IN (SELECT a.source_id FROM ({assigned}) a)
    THEN (d.source_id, d.owner_id) NOT IN (SELECT a.source_id, a.owner_id FROM ({assigned}) a)
    ELSE d.owner_rule = 'owners_file' END

-- name: ambiguous_ids
-- Source ids that are the same UUID in two spellings: a uuid column cannot tell which of them it means.
SELECT p.source_id, s.{source_key}::text FROM ({spellings}) p
JOIN {source} s ON s.{source_key}::text COLLATE "C" = p.id::text
UNION ALL
SELECT min(k.source_id), max(k.source_id) FROM ({all_spellings}) k GROUP BY k.id HAVING count(*) > 1
LIMIT 5;

-- name: kept
-- Rows of the target that stay although they differ from the old ones, because somebody has decided so.
SELECT m.source_id, m.owner_id, m.target_id, count(*) OVER () AS total FROM pipelines.id_map m
WHERE m.move = {move} AND m.kept_target ORDER BY 1, 2 LIMIT 1000

-- name: conflicts
-- Old rows whose place in the target is taken by another row.
SELECT m.source_id, m.owner_id, m.target_id, count(*) OVER () AS total FROM pipelines.id_map m
WHERE m.move = {move} AND m.disposition = 'conflict' ORDER BY 1, 2 LIMIT 1000

-- name: side_by_side
-- Pairs of an old row and one of the target, with what tells their texts apart but does not show them.
SELECT p.source_id, p.owner_id::text, coalesce(o.{owners_label}::text COLLATE "C", '(gone)') AS owner, p.target_id::text,
       {digest_of_s} AS old_text, {digest_of_t} AS new_text, p.total
FROM ({pairs}) p
LEFT JOIN {owners} o ON o.{owners_key} = p.owner_id
LEFT JOIN {source} s ON s.{source_key}::text COLLATE "C" = p.source_id
LEFT JOIN {target} t ON t.{target_key} = p.target_id
ORDER BY 1, 2;

-- name: digest
-- Length and hash of the texts of a row.
nullif(concat_ws('; ', {parts}), '')

-- name: digest_of_one
-- The same of one column.
{label} || ': ' || length({column}::text) || ' characters, SHA-256 '
    || left(encode(sha256(convert_to({column}::text, 'UTF8')), 'hex'), 12)

-- name: rejected
-- Old rows that could not be carried, with the reason.
SELECT r.source_id, r.owner_id::text, coalesce(o.{owners_label}::text COLLATE "C", '(no owner)') AS owner, r.reason, r.detail,
       count(*) OVER () AS total
FROM pipelines.rejected r LEFT JOIN {owners} o ON o.{owners_key} = r.owner_id
WHERE r.move = {move} ORDER BY 1, 2 LIMIT 1000;

-- name: references_to_decide
-- References of one class, with what they hold.
SELECT c.table_name, c.row_key, c.column_name, c.owner_id::text, coalesce(o.{owners_label}::text COLLATE "C", '(gone)') AS owner,
       c.value, count(*) OVER () AS total
FROM ({classified}) c LEFT JOIN {owners} o ON o.{owners_key} = c.owner_id
WHERE c.class = %(class)s ORDER BY 1, 2, 3 LIMIT 1000;

-- name: unknown_rows
-- Rows of the target that the map does not know: the application's own, and what was put there behind our back.
SELECT t.{target_key}::text AS target_id, {owner_of_t}::text AS owner_id,
       coalesce(o.{owners_label}::text COLLATE "C", '(gone)') AS owner, count(*) OVER () AS total
FROM {target} t LEFT JOIN pipelines.id_map m ON m.target_id = t.{target_key} AND m.move = {move}
LEFT JOIN {owners} o ON o.{owners_key} = {owner_of_t}
WHERE m.move IS NULL ORDER BY 3, 1 LIMIT 1000;

-- name: contents
-- The carried texts of old rows and of the rows in their place, for whoever asked to see them.
SELECT k.source_id, k.target_id, jsonb_strip_nulls(jsonb_build_object({of_source})), jsonb_strip_nulls(jsonb_build_object({of_target}))
FROM unnest(%(source_ids)s::text[], %(target_ids)s::text[]) AS k (source_id, target_id)
LEFT JOIN {source} s ON s.{source_key}::text COLLATE "C" = k.source_id
LEFT JOIN {target} t ON t.{target_key} = k.target_id::uuid;

-- name: source_rows
-- The rows of the old table.
SELECT count(*) FROM {source} s;

-- name: counts
-- What the map says became of the source rows.
SELECT coalesce(sum(n) FILTER (WHERE copy), 0), coalesce(sum(n) FILTER (WHERE what = 'inserted'), 0),
       coalesce(sum(n) FILTER (WHERE what = 'already_present'), 0), coalesce(sum(n) FILTER (WHERE what = 'adopted'), 0),
       coalesce(sum(n) FILTER (WHERE what = 'conflict'), 0), coalesce(sum(n) FILTER (WHERE what = 'rejected'), 0)
FROM (SELECT disposition AS what, owner_rule = 'copy' AS copy, count(*) AS n
      FROM pipelines.id_map WHERE move = {move} GROUP BY 1, 2
      UNION ALL
      SELECT 'rejected', owner_rule IS NOT DISTINCT FROM 'copy', count(*)
      FROM pipelines.rejected WHERE move = {move} GROUP BY 2) ended;

-- name: reference_counts
-- The class of every reference as things stand, counted.
SELECT class, count(*) FROM ({classified}) c GROUP BY class;

-- name: references_in_detail
-- The same by column and owner; what the move has changed and is still as it left it counts as rewired.
SELECT c.table_name, c.column_name, c.owner_id::text,
       CASE WHEN c.class = 'already_current' AND d.row_key IS NOT NULL THEN 'rewired' ELSE c.class END, count(*)
FROM ({classified}) c LEFT JOIN (
    SELECT DISTINCT table_name, row_key, column_name FROM pipelines.reference_change WHERE move = {move} AND {switched}
) d USING (table_name, row_key, column_name)
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;

-- name: rewired
-- How many references the move has changed so far.
SELECT count(*) FROM (SELECT DISTINCT table_name, row_key, column_name
                      FROM pipelines.reference_change WHERE move = {move} AND {switched}) changed;

-- name: switched
-- Whether the references have changed; before that, what the journal has is a plan.
EXISTS (SELECT FROM pipelines.move v WHERE v.move = {move} AND v.milestone NOT IN ('copying', 'rolled_back'))

-- name: owner_counts
-- Rows per owner, rule and disposition, for the report.
SELECT m.owner_id::text, coalesce(o.{owners_label}::text COLLATE "C", '(gone)'), m.owner_rule, m.disposition, m.rows FROM (
    SELECT owner_id, owner_rule, disposition, count(*) AS rows FROM pipelines.id_map WHERE move = {move} GROUP BY 1, 2, 3
    UNION ALL
    SELECT owner_id, coalesce(owner_rule, 'none'), 'rejected', count(*) FROM pipelines.rejected WHERE move = {move}
    GROUP BY 1, 2
) m LEFT JOIN {owners} o ON o.{owners_key} = m.owner_id ORDER BY 2, 1, 3, 4;

-- name: not_carried
-- How many rows have something in a column that has no place in the target.
SELECT count(*) FILTER (WHERE s.{column} IS NOT NULL AND s.{column}::text COLLATE "C" NOT IN ('', '{}')) FROM {source} s;

-- name: copied
-- Source rows in committed batches: of the move, and of one run.
SELECT coalesce(sum(rows), 0)::bigint, coalesce(sum(rows) FILTER (WHERE run_id = %(run_id)s), 0)::bigint
FROM pipelines.batch WHERE move = {move} AND phase = 'copy';
