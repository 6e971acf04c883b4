-- name: now
-- Every transaction before this one has ended; whatever is written from here on has a row version of this one or later.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint;

-- name: is_new
-- Whether a row version may have been written since; unknown where there is no row. Numbers of transactions are compared
-- as the server compares them, on a circle; those below 3 are older than everything. CASE makes one text of most numbers,
-- not two.
(CASE WHEN ({alias}.xmin::text::bigint - {since}) & 4294967295 >= 2147483648 THEN false ELSE {alias}.xmin::text::bigint > 2 END)
