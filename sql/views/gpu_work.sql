-- Everything the GPU was recorded doing, each with its name, the phase it belongs to and the call that launched it.
-- Attribution is by launch: the phase is the one that was open on the host when the launching call was entered.
-- Grain: op_id. Launched outside every phase: phase and occurrence_id are NULL and reason says why.
-- requires: attribute.gpu_work, attribute.occurrences, load.strings, load.nvtx_ranges, attribute.kernel_families, macros.is_timed
-- columns:
--   op_id             BIGINT   The operation. Joins kernels, memops and graph_launches.
--   kind              VARCHAR  'kernel', 'memcpy', 'memset' or 'graph' (a CUDA graph recorded as a whole).
--   name              VARCHAR  Short kernel name; the kind for anything else.
--   family            VARCHAR  What kind of work a kernel is: 'gemm', 'attention', 'norm', …; the kind for anything else.
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
--   bytes             BIGINT   Bytes copied or filled, NULL for kernels and graphs. Unit: bytes.
--   method            VARCHAR  How the phase was found: 'thread' (range of the launching thread), 'start_end' (start/end
--                              range), 'other_thread' (the only phase open in the process), NULL for none.
--   reason            VARCHAR  Why there is no phase: 'no_api_call', 'no_range', 'no_phase', 'several_phases_open'.
SELECT
    w.op_id, w.kind::VARCHAR AS kind,
    CASE WHEN w.kind = 'kernel' THEN short.value ELSE w.kind END AS name,
    CASE WHEN w.kind = 'kernel' THEN f.family ELSE w.kind END AS family,
    p.phase, w.occurrence_id, p.occurrence, p.is_warmup, p.is_cold, w.range_id, r.name AS range_name,
    w.process_key & 16777215 AS process_id, w.global_tid & 16777215 AS thread_id, w.device_id, w.stream_id,
    w.start_ns, w.end_ns, w.end_ns - w.start_ns AS dur_ns,
    w.api_id, w.launch_start_ns, w.launch_end_ns,
    CASE WHEN macros.is_timed(w.start_ns, w.end_ns) THEN w.start_ns - w.launch_end_ns END AS launch_latency_ns,
    w.graph_node_id, w.bytes, w.method, w.reason
FROM attribute.gpu_work AS w
LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
LEFT JOIN load.nvtx_ranges AS r ON r.range_id = w.range_id
LEFT JOIN load.strings AS short ON short.string_id = w.name_id
LEFT JOIN attribute.kernel_families AS f ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id
