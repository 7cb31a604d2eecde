-- Busy time of each group of intervals and the gaps in it: the stretches between its first start and its last end in
-- which none of its intervals is open.
-- Algorithm: by start, an interval that begins past the latest end so far ends a gap.
-- Grain: group_id.
-- params: intervals
-- requires:
-- columns:
--   group_id       ANY     Copied from `intervals`, which has group_id, start_ns and end_ns.
--   busy_ns        BIGINT  Length of the union. Unit: ns.
--   gap_count      BIGINT  Gaps.
--   gap_ns         BIGINT  Sum of their lengths. Unit: ns.
--   longest_gap_ns BIGINT  Length of the longest, 0 without any. Unit: ns.
WITH reach AS (
    SELECT
        group_id, start_ns, end_ns,
        max(end_ns) OVER (
            PARTITION BY group_id ORDER BY start_ns ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached_ns
    FROM query_table(intervals)
)
SELECT
    group_id,
    sum(greatest(0, end_ns - greatest(start_ns, coalesce(reached_ns, start_ns))))::BIGINT AS busy_ns,
    count(*) FILTER (WHERE start_ns > reached_ns) AS gap_count,
    coalesce(sum(start_ns - reached_ns) FILTER (WHERE start_ns > reached_ns), 0)::BIGINT AS gap_ns,
    coalesce(max(start_ns - reached_ns) FILTER (WHERE start_ns > reached_ns), 0)::BIGINT AS longest_gap_ns
FROM reach
GROUP BY group_id
