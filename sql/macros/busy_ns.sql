-- Busy time of each group of intervals: the length of their union, so that overlapping work counts once.
-- Algorithm: by start, each interval adds what it reaches past the latest end so far.
-- Grain: group_id.
-- params: intervals
-- requires:
-- columns:
--   group_id ANY     Copied from `intervals`, which has group_id, start_ns and end_ns.
--   busy_ns  BIGINT  Length of the union. Unit: ns.
WITH reach AS (
    SELECT
        group_id, start_ns, end_ns,
        max(end_ns) OVER (
            PARTITION BY group_id ORDER BY start_ns ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached_ns
    FROM query_table(intervals)
)
SELECT group_id, sum(greatest(0, end_ns - greatest(start_ns, coalesce(reached_ns, start_ns))))::BIGINT AS busy_ns
FROM reach
GROUP BY group_id
