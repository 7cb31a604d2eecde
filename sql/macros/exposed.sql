-- When intervals of one set are open and none of another, group by group: communication that no compute hides.
-- Algorithm: as in macros.overlap, with each set counted apart.
-- Grain: group_id, start_ns.
-- params: intervals, covers
-- requires: macros.islands
-- columns:
--   group_id ANY     Copied from `intervals`, which has group_id, start_ns and end_ns as `covers` has.
--   start_ns BIGINT  Start of the stretch in which only `intervals` is open. Unit: ns.
--   end_ns   BIGINT  Its end. Unit: ns.
--   dur_ns   BIGINT  end_ns - start_ns. Unit: ns.
WITH bound AS (
    SELECT group_id, start_ns AS at_ns, 1 AS own, 0 AS cover FROM macros.islands(intervals)
    UNION ALL
    SELECT group_id, end_ns, -1, 0 FROM macros.islands(intervals)
    UNION ALL
    SELECT group_id, start_ns, 0, 1 FROM macros.islands(covers)
    UNION ALL
    SELECT group_id, end_ns, 0, -1 FROM macros.islands(covers)
),
instant AS (
    SELECT group_id, at_ns, sum(own) AS own, sum(cover) AS cover FROM bound GROUP BY group_id, at_ns
),
stretch AS (
    SELECT
        group_id, at_ns AS start_ns, lead(at_ns) OVER sweep AS end_ns,
        sum(own) OVER (sweep ROWS UNBOUNDED PRECEDING) AS own,
        sum(cover) OVER (sweep ROWS UNBOUNDED PRECEDING) AS cover
    FROM instant
    WINDOW sweep AS (PARTITION BY group_id ORDER BY at_ns)
)
SELECT group_id, start_ns, end_ns, end_ns - start_ns AS dur_ns
FROM stretch
WHERE own = 1 AND cover = 0
