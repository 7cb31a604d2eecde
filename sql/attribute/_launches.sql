-- Each GPU operation with its call and the innermost push/pop range and phase around the start of the call.
-- Grain: op_id.
-- materialize: temporary
-- requires: load.gpu_ops, attribute._linked_calls, attribute.range_segments
-- columns:
--   op_id           BIGINT  Joins load.gpu_ops.
--   process_key     BIGINT  Joins load.processes.
--   api_id          BIGINT  The call, NULL where there is none. Joins load.api_calls.
--   global_tid      BIGINT  The calling thread. Joins load.threads.
--   launch_start_ns BIGINT  Entry of the call. Unit: ns.
--   launch_end_ns   BIGINT  Return of the call. Unit: ns.
--   range_id        BIGINT  Innermost push/pop range. Joins load.nvtx_ranges.
--   occurrence_id   BIGINT  Innermost push/pop phase. Joins attribute.phase_ranges.
WITH doubled AS (
    SELECT (SELECT count(*) FROM attribute._linked_calls) > (SELECT count(*) FROM load.gpu_ops) AS is_doubled
),
-- Doubled calls are rare, and sorting every operation to find none is slow: look only where there are some. Where a pid
-- came back, its second process counts calls from 1 again: the call is the last one before the operation.
single AS (
    SELECT * FROM attribute._linked_calls WHERE NOT (SELECT is_doubled FROM doubled)
    UNION ALL
    SELECT c.*
    FROM attribute._linked_calls AS c JOIN load.gpu_ops AS o USING (op_id)
    WHERE (SELECT is_doubled FROM doubled)
    QUALIFY row_number() OVER (
        PARTITION BY op_id
        ORDER BY
            c.launch_start_ns > o.start_ns NULLS LAST,
            CASE WHEN c.launch_start_ns > o.start_ns THEN c.launch_start_ns ELSE -c.launch_start_ns END,
            c.api_id
    ) = 1
)
SELECT
    l.op_id, l.process_key, l.api_id, l.global_tid, l.launch_start_ns, l.launch_end_ns, s.range_id, s.occurrence_id
FROM single AS l
ASOF LEFT JOIN attribute.range_segments AS s ON s.global_tid = l.global_tid AND s.start_ns <= l.launch_start_ns
