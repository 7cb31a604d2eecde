-- The range around each push/pop range, within its thread and domain.
-- Algorithm: inside one domain of one thread ranges nest, so the running sum of +1 at a start and -1 at an end is the
-- depth, and the parent of a range is the latest start that reached one depth less.
-- Grain: range_id.
-- requires: load.nvtx_ranges
-- columns:
--   range_id  BIGINT  Joins load.nvtx_ranges.
--   parent_id BIGINT  The range around it, NULL for an outermost one.
--   depth     BIGINT  0 for an outermost one.
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
)
SELECT c.range_id, p.range_id AS parent_id, c.depth::BIGINT - 1 AS depth
FROM opened AS c
ASOF LEFT JOIN opened AS p
    ON p.global_tid = c.global_tid AND p.domain_id = c.domain_id AND p.depth = c.depth - 1 AND p.step <= c.step
