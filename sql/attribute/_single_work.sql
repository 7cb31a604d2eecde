-- Each GPU operation with its first call only: `--cudabacktrace` records a call twice.
-- Grain: op_id. Columns are those of attribute._linked_work.
-- requires: load.gpu_ops, attribute._linked_work
-- columns:
--   op_id           BIGINT  Joins load.gpu_ops.
--   kind            ENUM('kernel', 'memcpy', 'memset', 'graph')  What it is.
--   process_key     BIGINT  Joins load.processes.
--   device_id       UINTEGER  Joins load.devices.
--   stream_id       UINTEGER  CUDA stream.
--   start_ns        BIGINT  Start on the GPU. Unit: ns.
--   end_ns          BIGINT  End on the GPU. Unit: ns.
--   name_id         UINTEGER  Short kernel name. Joins load.strings.
--   full_name_id    UINTEGER  Demangled kernel name. Joins load.strings.
--   graph_node_id   BIGINT  Set when it ran inside a CUDA graph.
--   bytes           BIGINT  Bytes copied or filled.
--   api_id          UINTEGER  The call, NULL where there is none. Joins load.api_calls.
--   global_tid      BIGINT  The calling thread. Joins load.threads.
--   launch_start_ns BIGINT  Entry of the call. Unit: ns.
--   launch_end_ns   BIGINT  Return of the call. Unit: ns.
--   range_id        BIGINT  Innermost push/pop range. Joins load.nvtx_ranges.
--   occurrence_id   BIGINT  Innermost push/pop phase. Joins attribute.phase_ranges.
WITH doubled AS (
    SELECT (SELECT count(*) FROM attribute._linked_work) > (SELECT count(*) FROM load.gpu_ops) AS is_doubled
)
-- Doubled calls are rare, and sorting every operation to find none is slow: look only where there are some.
SELECT
    op_id, kind, process_key, device_id, stream_id, start_ns, end_ns, name_id, full_name_id, graph_node_id, bytes,
    api_id, global_tid, launch_start_ns, launch_end_ns, range_id, occurrence_id
FROM attribute._linked_work
WHERE NOT (SELECT is_doubled FROM doubled)
UNION ALL
SELECT
    op_id, kind, process_key, device_id, stream_id, start_ns, end_ns, name_id, full_name_id, graph_node_id, bytes,
    api_id, global_tid, launch_start_ns, launch_end_ns, range_id, occurrence_id
FROM attribute._linked_work
WHERE (SELECT is_doubled FROM doubled)
QUALIFY row_number() OVER (PARTITION BY op_id ORDER BY launch_start_ns, api_id) = 1
