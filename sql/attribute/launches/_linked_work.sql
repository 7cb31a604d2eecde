-- Each GPU operation with the host call that launched it (same process, same correlation id) and the innermost push/pop
-- range and phase around the start of the call.
-- `--cudabacktrace` records a call twice, so an operation may be here twice: see attribute._repeated_links.
-- Grain: op_id and call.
-- materialize: table
-- requires: load.gpu_ops, load.api_calls, attribute.range_segments, attribute._segment_slots
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
--   call_name_id    UINTEGER  Name of the call. Joins load.strings.
--   global_tid      BIGINT  The calling thread. Joins load.threads.
--   launch_start_ns BIGINT  Entry of the call. Unit: ns.
--   launch_end_ns   BIGINT  Return of the call. Unit: ns.
--   range_id        BIGINT  Innermost push/pop range. Joins load.nvtx_ranges.
--   occurrence_id   BIGINT  Innermost push/pop phase. Joins attribute.phase_ranges.
WITH slot_width AS (
    SELECT any_value(width_ns) AS width_ns FROM attribute._segment_slots
),
-- Nothing, and read in no time, where there are slots.
unslotted_op AS (
    SELECT * FROM load.gpu_ops WHERE (SELECT width_ns FROM slot_width) IS NULL
),
unslotted_call AS (
    SELECT * FROM load.api_calls WHERE (SELECT width_ns FROM slot_width) IS NULL
)
SELECT
    o.op_id, o.kind, o.process_key, o.device_id::UINTEGER AS device_id, o.stream_id::UINTEGER AS stream_id,
    o.start_ns, o.end_ns, o.name_id::UINTEGER AS name_id, o.full_name_id::UINTEGER AS full_name_id,
    o.graph_node_id, o.bytes, c.api_id::UINTEGER AS api_id, c.name_id::UINTEGER AS call_name_id, c.global_tid,
    c.start_ns AS launch_start_ns, c.end_ns AS launch_end_ns, s.range_id, s.occurrence_id
FROM load.gpu_ops AS o
LEFT JOIN load.api_calls AS c ON c.correlation_id = o.correlation_id AND c.process_key = o.process_key
LEFT JOIN attribute._segment_slots AS s
    ON s.global_tid = c.global_tid AND s.slot = c.start_ns // (SELECT width_ns FROM slot_width)
    AND c.start_ns >= s.start_ns AND c.start_ns < s.until_ns
WHERE (SELECT width_ns FROM slot_width) IS NOT NULL
UNION ALL
SELECT
    o.op_id, o.kind, o.process_key, o.device_id::UINTEGER AS device_id, o.stream_id::UINTEGER AS stream_id,
    o.start_ns, o.end_ns, o.name_id::UINTEGER AS name_id, o.full_name_id::UINTEGER AS full_name_id,
    o.graph_node_id, o.bytes, c.api_id::UINTEGER AS api_id, c.name_id::UINTEGER AS call_name_id, c.global_tid, c.start_ns, c.end_ns,
    s.range_id, s.occurrence_id
FROM unslotted_op AS o
LEFT JOIN unslotted_call AS c ON c.correlation_id = o.correlation_id AND c.process_key = o.process_key
ASOF LEFT JOIN attribute.range_segments AS s ON s.global_tid = c.global_tid AND s.start_ns <= c.start_ns
