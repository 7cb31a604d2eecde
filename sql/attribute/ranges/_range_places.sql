-- Where each range stands: the range around it within its thread and domain, and the phase it starts in.
-- Algorithm: inside one domain of one thread ranges nest, so the running sum of +1 at a start and -1 at an end is the
-- depth, and the parent of a range is the latest start that reached one depth less.
-- Grain: range_id.
-- materialize: table
-- requires: load.nvtx_ranges, attribute._phase_segments
-- columns:
--   range_id      BIGINT  Joins load.nvtx_ranges.
--   parent_id     BIGINT  Push/pop range around it, NULL for an outermost one and for start/end ranges.
--   depth         BIGINT  0 for an outermost one, NULL for start/end ranges.
--   occurrence_id BIGINT  Innermost push/pop phase of its thread that is open when it starts.
WITH event AS (
    SELECT
        global_tid, domain_id, range_id, 1 AS delta, start_ns AS at_ns,
        CASE WHEN start_ns = end_ns THEN 2 ELSE 1 END AS at_order,
        CASE WHEN start_ns = end_ns THEN range_id ELSE -end_ns END AS then_order,
        CASE WHEN start_ns = end_ns THEN 0 ELSE range_id END AS last_order
    FROM load.nvtx_ranges
    WHERE kind = 'push_pop'
    UNION ALL
    SELECT
        global_tid, domain_id, range_id, -1, end_ns,
        CASE WHEN start_ns = end_ns THEN 2 ELSE 0 END,
        CASE WHEN start_ns = end_ns THEN range_id ELSE -start_ns END,
        CASE WHEN start_ns = end_ns THEN 1 ELSE -range_id END
    FROM load.nvtx_ranges
    WHERE kind = 'push_pop'
),
stepped AS (
    SELECT
        global_tid, domain_id, range_id, delta,
        row_number() OVER sweep AS step,
        sum(delta) OVER sweep AS depth
    FROM event
    WINDOW sweep AS (
        PARTITION BY global_tid, domain_id ORDER BY at_ns, at_order, then_order, last_order ROWS UNBOUNDED PRECEDING
    )
),
opened AS (
    SELECT global_tid, domain_id, range_id, step, depth FROM stepped WHERE delta = 1
),
parent AS (
    SELECT c.range_id, p.range_id AS parent_id, c.depth::BIGINT - 1 AS depth
    FROM opened AS c
    ASOF LEFT JOIN opened AS p
        ON p.global_tid = c.global_tid AND p.domain_id = c.domain_id AND p.depth = c.depth - 1 AND p.step <= c.step
)
SELECT r.range_id, parent.parent_id, parent.depth, s.occurrence_id
FROM load.nvtx_ranges AS r
ASOF LEFT JOIN attribute._phase_segments AS s ON s.global_tid = r.global_tid AND s.start_ns <= r.start_ns
LEFT JOIN parent ON parent.range_id = r.range_id
