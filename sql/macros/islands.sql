-- Merges the intervals of each group that overlap or touch into islands: the stretches in which at least one is open.
-- Algorithm: by start, an interval that begins past the latest end so far begins a new island.
-- Grain: group_id, start_ns.
-- params: intervals
-- requires:
-- columns:
--   group_id       ANY     Copied from `intervals`, which has group_id, start_ns and end_ns.
--   start_ns       BIGINT  Start of the island. Unit: ns.
--   end_ns         BIGINT  End of the island. Unit: ns.
--   interval_count BIGINT  Intervals in it.
WITH reach AS (
    SELECT
        group_id, start_ns, end_ns,
        max(end_ns) OVER (
            PARTITION BY group_id ORDER BY start_ns, end_ns ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached_ns
    FROM query_table(intervals)
),
numbered AS (
    SELECT
        group_id, start_ns, end_ns,
        sum(CASE WHEN start_ns <= reached_ns THEN 0 ELSE 1 END) OVER (
            PARTITION BY group_id ORDER BY start_ns, end_ns ROWS UNBOUNDED PRECEDING
        ) AS island
    FROM reach
)
SELECT group_id, min(start_ns) AS start_ns, max(end_ns) AS end_ns, count(*) AS interval_count
FROM numbered
GROUP BY group_id, island
