-- Busy time of each group of intervals and the gaps in it: the stretches between its first start and its last end in
-- which none of its intervals is open.
-- Algorithm: by start, an interval that begins past the latest end so far ends a gap. Where the intervals of a group end
-- in the order in which they start, as the work of one stream does, the latest end so far is the previous one's, which
-- is found in half the time.
-- Grain: group_id.
-- params: intervals
-- requires:
-- columns:
--   group_id       ANY     Copied from `intervals`, which has group_id, start_ns and end_ns.
--   busy_ns        BIGINT  Length of the union. Unit: ns.
--   gap_count      BIGINT  Gaps.
--   gap_ns         BIGINT  Sum of their lengths. Unit: ns.
--   longest_gap_ns BIGINT  Length of the longest, 0 without any. Unit: ns.
WITH previous AS (
    SELECT
        group_id, start_ns, end_ns, lag(end_ns) OVER (PARTITION BY group_id ORDER BY start_ns) AS reached_ns
    FROM query_table(intervals)
),
ordered AS MATERIALIZED (
    SELECT
        group_id,
        sum(greatest(0, end_ns - greatest(start_ns, coalesce(reached_ns, start_ns))))::BIGINT AS busy_ns,
        count(*) FILTER (WHERE start_ns > reached_ns) AS gap_count,
        coalesce(sum(start_ns - reached_ns) FILTER (WHERE start_ns > reached_ns), 0)::BIGINT AS gap_ns,
        coalesce(max(start_ns - reached_ns) FILTER (WHERE start_ns > reached_ns), 0)::BIGINT AS longest_gap_ns,
        coalesce(bool_and(end_ns >= reached_ns), true) AS is_ordered
    FROM previous
    GROUP BY group_id
),
reach AS (
    SELECT
        i.group_id, i.start_ns, i.end_ns,
        max(i.end_ns) OVER (
            PARTITION BY i.group_id ORDER BY i.start_ns ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached_ns
    FROM query_table(intervals) AS i
    SEMI JOIN (SELECT group_id FROM ordered WHERE NOT is_ordered) AS o ON o.group_id IS NOT DISTINCT FROM i.group_id
)
SELECT group_id, busy_ns, gap_count, gap_ns, longest_gap_ns
FROM ordered
WHERE is_ordered
UNION ALL
SELECT
    group_id,
    sum(greatest(0, end_ns - greatest(start_ns, coalesce(reached_ns, start_ns))))::BIGINT AS busy_ns,
    count(*) FILTER (WHERE start_ns > reached_ns) AS gap_count,
    coalesce(sum(start_ns - reached_ns) FILTER (WHERE start_ns > reached_ns), 0)::BIGINT AS gap_ns,
    coalesce(max(start_ns - reached_ns) FILTER (WHERE start_ns > reached_ns), 0)::BIGINT AS longest_gap_ns
FROM reach
GROUP BY group_id
