-- name: name_based
-- The name-based UUID (version 8 over SHA-256) of a source id; the same as `pure.ids`.
(SELECT encode(set_byte(set_byte(d.digest, 6, (get_byte(d.digest, 6) & 15) | 128),
                        8, (get_byte(d.digest, 8) & 63) | 128), 'hex')::uuid
 FROM (SELECT substring(sha256(decode({namespace}, 'hex') || convert_to(s.{source_key}::text, 'UTF8'))
                        FROM 1 FOR 16) AS digest OFFSET 0) d)

-- name: primary
-- The id of a source row in the target, for its primary owner: its own where that is a canonical UUID.
CASE WHEN {is_canonical} THEN s.{source_key}::text::uuid ELSE {name_based} END

-- name: is_canonical
-- Whether the id of a source row is a UUID as uuid itself writes it.
(s.{source_key}::text COLLATE "C" LIKE '________-____-____-____-____________'
    AND translate(s.{source_key}::text COLLATE "C", '0123456789abcdef', '') = '----')
