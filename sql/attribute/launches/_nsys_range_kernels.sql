-- Each kernel with every range that holds its launching call as `nsys stats` understands it: on the same thread, the
-- whole call inside the range.
-- Algorithm: closed push/pop ranges of one domain and thread nest, so those that hold a call are the latest one that
-- started before it and the ranges around that one. The few other ranges are joined by their times.
-- Grain: op_id, range_id.
-- materialize: temporary
-- requires: attribute.gpu_work, attribute._range_places, load.nvtx_ranges, load.nsys_ranges
-- columns:
--   op_id    BIGINT  Joins attribute.gpu_work.
--   range_id BIGINT  Joins load.nsys_ranges.
WITH RECURSIVE kernel AS MATERIALIZED (
    SELECT op_id, api_id, global_tid, launch_start_ns, launch_end_ns
    FROM attribute.gpu_work
    WHERE kind = 'kernel' AND api_id IS NOT NULL
),
call AS MATERIALIZED (
    SELECT DISTINCT api_id, global_tid, launch_start_ns, launch_end_ns FROM kernel
),
parent AS MATERIALIZED (
    SELECT range_id, parent_id, depth FROM attribute._range_places
    WHERE depth IS NOT NULL
),
latest AS MATERIALIZED (
    SELECT r.global_tid, r.domain_id, r.start_ns, arg_max(r.range_id, parent.depth) AS range_id
    FROM load.nvtx_ranges AS r JOIN parent USING (range_id)
    GROUP BY r.global_tid, r.domain_id, r.start_ns
),
track AS (
    SELECT DISTINCT global_tid, domain_id FROM latest
),
before AS MATERIALIZED (
    SELECT c.api_id, l.range_id
    FROM (SELECT call.api_id, call.launch_start_ns, global_tid, track.domain_id FROM call JOIN track USING (global_tid)) AS c
    ASOF JOIN latest AS l
        ON l.global_tid = c.global_tid AND l.domain_id = c.domain_id AND l.start_ns <= c.launch_start_ns
),
around AS (
    SELECT DISTINCT range_id, range_id AS outer_id FROM before
    UNION ALL
    SELECT a.range_id, parent.parent_id
    FROM around AS a JOIN parent ON parent.range_id = a.outer_id
    WHERE parent.parent_id IS NOT NULL
),
held AS (
    SELECT before.api_id, around.outer_id AS range_id
    FROM before
    JOIN around USING (range_id)
    JOIN call USING (api_id)
    JOIN load.nsys_ranges AS r ON r.range_id = around.outer_id
    WHERE r.style = 'PushPop' AND r.has_end
        AND r.start_ns <= call.launch_start_ns AND r.end_ns >= call.launch_end_ns
        AND call.launch_end_ns > call.launch_start_ns
    UNION ALL
    -- The difference of the threads instead of their equality keeps this a join over times, which is not quadratic.
    SELECT call.api_id, r.range_id
    FROM call
    JOIN (SELECT range_id, global_tid, start_ns, end_ns FROM load.nsys_ranges WHERE style <> 'PushPop' OR NOT has_end) AS r
        ON r.start_ns <= call.launch_start_ns AND r.end_ns >= call.launch_end_ns
    WHERE r.global_tid - call.global_tid = 0 AND call.launch_end_ns > call.launch_start_ns
    UNION ALL
    -- A call of no length may lie in two ranges that touch.
    SELECT call.api_id, r.range_id
    FROM call
    JOIN load.nsys_ranges AS r ON r.start_ns <= call.launch_start_ns AND r.end_ns >= call.launch_end_ns
    WHERE r.global_tid - call.global_tid = 0 AND call.launch_end_ns <= call.launch_start_ns
)
SELECT kernel.op_id, held.range_id FROM kernel JOIN held USING (api_id)
