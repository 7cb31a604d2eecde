-- When intervals of two sets are open at once, group by group: communication while computing, copies under kernels.
-- Algorithm: the islands of either set are disjoint, so at any instant at most two are open: sweep over their bounds.
-- Grain: group_id, start_ns.
-- params: left_intervals, right_intervals
-- requires: macros.islands
-- columns:
--   group_id ANY     Copied from the sets, which have group_id, start_ns and end_ns.
--   start_ns BIGINT  Start of the stretch in which both are open. Unit: ns.
--   end_ns   BIGINT  Its end. Unit: ns.
--   dur_ns   BIGINT  end_ns - start_ns. Unit: ns.
WITH island AS (
    SELECT group_id, start_ns, end_ns FROM macros.islands(left_intervals)
    UNION ALL
    SELECT group_id, start_ns, end_ns FROM macros.islands(right_intervals)
),
instant AS (
    SELECT group_id, at_ns, sum(delta) AS delta
    FROM (
        SELECT group_id, start_ns AS at_ns, 1 AS delta FROM island
        UNION ALL
        SELECT group_id, end_ns, -1 FROM island
    )
    GROUP BY group_id, at_ns
),
stretch AS (
    SELECT
        group_id, at_ns AS start_ns, lead(at_ns) OVER (PARTITION BY group_id ORDER BY at_ns) AS end_ns,
        sum(delta) OVER (PARTITION BY group_id ORDER BY at_ns ROWS UNBOUNDED PRECEDING) AS open_count
    FROM instant
)
SELECT group_id, start_ns, end_ns, end_ns - start_ns AS dur_ns
FROM stretch
WHERE open_count = 2
