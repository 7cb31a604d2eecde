-- How long intervals are open during each span, those that overlap counted once: compute beside a communication kernel.
-- Algorithm: intervals are merged into islands; their time before an instant is a running sum of lengths, and the time in a
-- span is the difference of that sum between its end and its start.
-- Grain: span_id.
-- params: spans, intervals
-- requires: macros.islands
-- columns:
--   span_id    ANY    Copied from `spans`, which has span_id, group_id, start_ns and end_ns.
--   covered_ns BIGINT Time in which `intervals` of its group are open, which have group_id, start_ns and end_ns. Unit: ns.
WITH island AS MATERIALIZED (
    SELECT
        group_id, start_ns, end_ns,
        coalesce(sum(end_ns - start_ns) OVER (
            PARTITION BY group_id ORDER BY start_ns ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS before_ns
    FROM macros.islands(intervals)
),
started AS (
    SELECT s.span_id, s.group_id, s.end_ns, coalesce(i.before_ns + least(s.start_ns, i.end_ns) - i.start_ns, 0) AS before_ns
    FROM query_table(spans) AS s
    ASOF LEFT JOIN island AS i ON i.group_id = s.group_id AND i.start_ns <= s.start_ns
)
SELECT s.span_id, (coalesce(i.before_ns + least(s.end_ns, i.end_ns) - i.start_ns, 0) - s.before_ns)::BIGINT AS covered_ns
FROM started AS s ASOF LEFT JOIN island AS i ON i.group_id = s.group_id AND i.start_ns <= s.end_ns
