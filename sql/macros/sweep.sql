-- Starts and ends of the spans of each lane in the order of a stack machine, with the depth after each.
-- Order at equal times: ends of earlier spans (inner first), starts (outer first), then spans of zero length.
-- Grain: lane, step.
-- params: spans
-- requires:
-- columns:
--   lane          BIGINT   Copied from `spans`, which has lane, span_id, start_ns and end_ns.
--   span_id       BIGINT   The span that starts or ends.
--   is_start      BOOLEAN  Whether it starts.
--   at_ns         BIGINT   When. Unit: ns.
--   step          BIGINT   1, 2, 3, … within the lane.
--   depth         HUGEINT  Spans open after this event.
--   next_ns       BIGINT   When the next event of the lane happens. Unit: ns.
--   next_is_start BOOLEAN  Whether that one is a start.
--   next_start_ns BIGINT   When the next span of the lane starts. Unit: ns.
WITH event AS (
    SELECT
        lane, span_id, true AS is_start, start_ns AS at_ns,
        CASE WHEN start_ns = end_ns THEN 2 ELSE 1 END AS at_order, -end_ns AS then_order, span_id AS last_order
    FROM query_table(spans)
    UNION ALL
    SELECT
        lane, span_id, false, end_ns, CASE WHEN start_ns = end_ns THEN 3 ELSE 0 END, -start_ns, -span_id
    FROM query_table(spans)
)
SELECT
    lane, span_id, is_start, at_ns,
    row_number() OVER sweep AS step,
    sum(CASE WHEN is_start THEN 1 ELSE -1 END) OVER sweep AS depth,
    lead(at_ns) OVER sweep AS next_ns,
    lead(is_start) OVER sweep AS next_is_start,
    lead(CASE WHEN is_start THEN at_ns END IGNORE NULLS) OVER sweep AS next_start_ns
FROM event
WINDOW sweep AS (PARTITION BY lane ORDER BY at_ns, at_order, then_order, last_order ROWS UNBOUNDED PRECEDING)
