-- Merges the intervals of each group that overlap or touch into islands: the stretches in which at least one is open.
-- Algorithm: by start, an interval that begins past the latest end so far begins a new island, and the one before it ends at
-- that latest end.
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
        group_id, start_ns, row_number() OVER sweep AS place, count(*) OVER whole AS places,
        max(end_ns) OVER (sweep ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached_ns,
        max(end_ns) OVER whole AS last_end_ns
    FROM query_table(intervals)
    WINDOW
        sweep AS (PARTITION BY group_id ORDER BY start_ns, end_ns),
        whole AS (sweep ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
)
SELECT
    group_id, start_ns, lead(reached_ns, 1, last_end_ns) OVER sweep AS end_ns,
    lead(place, 1, places + 1) OVER sweep - place AS interval_count
FROM reach
WHERE reached_ns IS NULL OR start_ns > reached_ns
WINDOW sweep AS (PARTITION BY group_id ORDER BY start_ns)
