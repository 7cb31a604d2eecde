-- Disjoint segments of each lane, each with the innermost of the spans that are open in it.
-- Algorithm: a stack sweep without a stack. Inside one sublane spans nest, so the running sum of +1 at a start and -1
-- at an end is the depth, and the top of the stack after an event is the latest start that reached this depth.
-- Sublanes (NVTX domains) interleave freely on a lane (thread): at every boundary the latest start among them wins.
-- A span holds the instants start_ns <= t <= end_ns; O(n log n).
-- Grain: lane, start_ns; a segment ends where the next one of its lane starts. No span open: span_id is NULL.
-- params: spans
-- requires:
-- columns:
--   lane     BIGINT  Copied from `spans`.
--   start_ns BIGINT  First instant of the segment. Unit: ns.
--   end_ns   BIGINT  Start of the lane's next segment, NULL in its last one. Unit: ns.
--   span_id  BIGINT  Innermost open span.
WITH span AS (
    SELECT lane, sublane, span_id, start_ns, end_ns FROM query_table(spans)
),
-- Ends take effect one instant late, because the end belongs to the span. Order at equal times: ends of earlier
-- spans (inner first), starts (outer first), then spans of zero length, start and end in turn.
event AS (
    SELECT
        lane, sublane, span_id, 1 AS delta, start_ns AS at_ns, start_ns AS effective_ns,
        CASE WHEN start_ns = end_ns THEN 2 ELSE 1 END AS at_order,
        CASE WHEN start_ns = end_ns THEN span_id ELSE -end_ns END AS then_order,
        CASE WHEN start_ns = end_ns THEN 0 ELSE span_id END AS last_order
    FROM span
    UNION ALL
    SELECT
        lane, sublane, span_id, -1, end_ns, end_ns + 1,
        CASE WHEN start_ns = end_ns THEN 2 ELSE 0 END,
        CASE WHEN start_ns = end_ns THEN span_id ELSE -start_ns END,
        CASE WHEN start_ns = end_ns THEN 1 ELSE -span_id END
    FROM span
),
stepped AS (
    SELECT
        lane, sublane, span_id, delta, effective_ns,
        row_number() OVER sweep AS step,
        sum(delta) OVER sweep AS depth
    FROM event
    WINDOW sweep AS (
        PARTITION BY lane, sublane ORDER BY at_ns, at_order, then_order, last_order ROWS UNBOUNDED PRECEDING
    )
),
topped AS (
    SELECT
        lane, sublane, step, effective_ns,
        CASE
            WHEN depth > 0 THEN last_value(CASE WHEN delta = 1 THEN span_id END IGNORE NULLS) OVER (
                PARTITION BY lane, sublane, depth ORDER BY step ROWS UNBOUNDED PRECEDING
            )
        END AS span_id
    FROM stepped
),
-- A later event that takes effect no later leaves this one nothing.
sublane_segment AS (
    SELECT lane, sublane, effective_ns AS start_ns, span_id
    FROM topped
    QUALIFY effective_ns < coalesce(
        min(effective_ns) OVER (
            PARTITION BY lane, sublane ORDER BY step ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        ),
        effective_ns + 1
    )
),
sublane_of AS (
    SELECT DISTINCT lane, sublane FROM span
),
is_shared AS (
    SELECT lane FROM sublane_of GROUP BY lane HAVING count(*) > 1
),
boundary AS (
    SELECT DISTINCT lane, start_ns FROM sublane_segment SEMI JOIN is_shared USING (lane)
),
candidate AS (
    SELECT b.lane, b.start_ns, s.span_id
    FROM (SELECT lane, sublane, start_ns FROM boundary JOIN sublane_of USING (lane)) AS b
    ASOF LEFT JOIN sublane_segment AS s
        ON s.lane = b.lane AND s.sublane = b.sublane AND s.start_ns <= b.start_ns
),
merged AS (
    SELECT c.lane, c.start_ns, arg_max(c.span_id, (span.start_ns, -span.end_ns, c.span_id)) AS span_id
    FROM candidate AS c LEFT JOIN span USING (span_id)
    GROUP BY c.lane, c.start_ns
    UNION ALL
    SELECT lane, start_ns, span_id FROM sublane_segment ANTI JOIN is_shared USING (lane)
)
SELECT lane, start_ns, lead(start_ns) OVER (PARTITION BY lane ORDER BY start_ns) AS end_ns, span_id
FROM merged
