-- One row per copy or fill on the GPU.
-- Grain: op_id. Launched outside every phase: phase and occurrence_id are NULL.
-- requires: views.gpu_work, load.memop_details
-- columns:
--   op_id             BIGINT   The operation. Joins gpu_work.
--   kind              VARCHAR  'memcpy' or 'memset'.
--   direction         VARCHAR  'Host-to-Device', 'Device-to-Host', 'Device-to-Device', …; NULL for fills.
--   source_memory     VARCHAR  'pageable', 'pinned', 'device', …; NULL for fills.
--   target_memory     VARCHAR  The same of where the bytes went.
--   value             BIGINT   What a fill wrote, NULL for copies.
--   bytes             BIGINT   Bytes copied or filled. Unit: bytes.
--   bytes_per_s       DOUBLE   bytes / dur_ns, NULL without a duration. Unit: bytes/s.
--   phase             VARCHAR  Name of the phase, or NULL.
--   occurrence_id     BIGINT   The occurrence. Joins phases.
--   occurrence        BIGINT   Its number within the phase: 0, 1, 2, … by start.
--   is_warmup         BOOLEAN  Whether the occurrence is inside warm-up, NULL outside every phase.
--   is_cold           BOOLEAN  Whether the occurrence is cold, NULL outside every phase: see phases.
--   range_id          BIGINT   Innermost push/pop range around the launch. Joins nvtx_ranges.
--   range_name        VARCHAR  Its text.
--   process_id        BIGINT   Operating-system pid. Joins processes.
--   thread_id         BIGINT   Operating-system tid of the launching thread, NULL where the launch was not recorded.
--   device_id         BIGINT   GPU. Joins devices.
--   stream_id         BIGINT   CUDA stream.
--   start_ns          BIGINT   Start on the GPU. Unit: ns.
--   end_ns            BIGINT   End on the GPU. Unit: ns.
--   dur_ns            BIGINT   end_ns - start_ns. Unit: ns.
--   api_id            BIGINT   The launching call. Joins api_calls.
--   launch_start_ns   BIGINT   Entry of the launching call. Unit: ns.
--   launch_end_ns     BIGINT   Return of the launching call. Unit: ns.
--   launch_latency_ns BIGINT   start_ns - launch_end_ns: negative where the GPU started before the call returned,
--                              NULL where its times were not recorded. Unit: ns.
--   graph_node_id     BIGINT   Graph << 32 | node when it ran inside a CUDA graph, else NULL.
SELECT
    g.op_id, g.kind, d.direction, d.source_memory, d.target_memory, d.value, g.bytes,
    g.bytes / nullif(g.dur_ns, 0) * 1e9 AS bytes_per_s,
    g.phase, g.occurrence_id, g.occurrence, g.is_warmup, g.is_cold, g.range_id, g.range_name, g.process_id, g.thread_id,
    g.device_id, g.stream_id, g.start_ns, g.end_ns, g.dur_ns, g.api_id, g.launch_start_ns, g.launch_end_ns,
    g.launch_latency_ns, g.graph_node_id
FROM views.gpu_work AS g
LEFT JOIN load.memop_details AS d USING (op_id)
WHERE g.kind IN ('memcpy', 'memset')
