-- name: now
-- Every transaction before this one has ended; whatever is written from here on has a row version of this one or later.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint;

-- name: is_new
-- Whether a row version may have been written since; unknown where there is no row. A row shows the lower half of the
-- number of its transaction for ever, also once it is frozen and the numbers have gone all the way round: what was written
-- since lies between then and now, anything else is older. Not for rows that the asking transaction wrote itself. CASE
-- makes one text of most numbers, not two.
(CASE WHEN ({alias}.xmin::text::bigint - {since}) & 4294967295
           > (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint) - {since}
      THEN false ELSE {alias}.xmin::text::bigint > 2 END)
