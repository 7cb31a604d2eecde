-- Every GPU operation with the host call that launched it, the range and the phase the call was made in.
-- Attribution is by launch: GPU operation to call by correlation id within the process, call to range by thread and
-- start of the call. When the operation ran on the GPU plays no part.
-- Grain: op_id. Launched outside every phase: occurrence_id is NULL and reason says why.
-- requires: attribute._linked_work, attribute._repeated_links, attribute._lent_launches
-- columns:
--   op_id           BIGINT   Joins load.gpu_ops.
--   kind            ENUM('kernel', 'memcpy', 'memset', 'graph')  What it is.
--   process_key     BIGINT   Joins load.processes.
--   device_id       BIGINT   Joins load.devices.
--   stream_id       BIGINT   CUDA stream.
--   start_ns        BIGINT   Start on the GPU. Unit: ns.
--   end_ns          BIGINT   End on the GPU. Unit: ns.
--   name_id         BIGINT   Short kernel name. Joins load.strings.
--   full_name_id    BIGINT   Demangled kernel name. Joins load.strings.
--   graph_node_id   BIGINT   Set when it ran inside a CUDA graph.
--   bytes           BIGINT   Bytes copied or filled.
--   api_id          BIGINT   The launching call. Joins load.api_calls.
--   global_tid      BIGINT   The launching thread. Joins load.threads.
--   launch_start_ns BIGINT   Entry of the launching call. Unit: ns.
--   launch_end_ns   BIGINT   Return of the launching call. Unit: ns.
--   range_id        BIGINT   Innermost push/pop range around the call. Joins load.nvtx_ranges.
--   occurrence_id   BIGINT   The phase it belongs to. Joins attribute.phase_ranges.
--   method          VARCHAR  How the phase was found: 'thread' (push/pop range of the launching thread), 'start_end'
--                            (start/end range of the launching thread), 'other_thread' (the only phase open in the
--                            process; flagged), NULL for none.
--   reason          VARCHAR  Why there is no phase: 'no_api_call', 'no_range', 'no_phase', 'several_phases_open'.
SELECT
    o.op_id, o.kind, o.process_key, o.device_id::BIGINT AS device_id, o.stream_id::BIGINT AS stream_id,
    o.start_ns, o.end_ns, o.name_id::BIGINT AS name_id, o.full_name_id::BIGINT AS full_name_id,
    o.graph_node_id, o.bytes,
    o.api_id::BIGINT AS api_id, o.global_tid, o.launch_start_ns, o.launch_end_ns, o.range_id,
    coalesce(o.occurrence_id, t.occurrence_id) AS occurrence_id,
    CASE WHEN o.occurrence_id IS NOT NULL THEN 'thread' ELSE t.method END AS method,
    t.reason
FROM attribute._linked_work AS o
ANTI JOIN attribute._repeated_links AS r ON r.op_id = o.op_id AND r.api_id = o.api_id
LEFT JOIN attribute._lent_launches AS t ON t.op_id = o.op_id
