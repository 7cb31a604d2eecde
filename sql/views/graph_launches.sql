-- One row per CUDA graph that ran: recorded as a whole, or as its nodes.
-- Grain: process_id, device_id, api_id, graph_id, op_id.
-- requires: views.gpu_work, macros.first_timed_ns
-- columns:
--   mode            VARCHAR  'graph' (one row for the whole graph: no kernel detail) or 'node' (its kernels were recorded).
--   graph_id        BIGINT   Number of the graph in its process.
--   op_id           BIGINT   Joins gpu_work, NULL where the nodes were recorded.
--   api_id          BIGINT   The launching call. Joins api_calls, and the nodes in gpu_work.
--   phase           VARCHAR  Name of the phase, or NULL.
--   occurrence_id   BIGINT   The occurrence. Joins phases.
--   is_warmup       BOOLEAN  Whether the occurrence is inside warm-up, NULL outside every phase.
--   is_cold         BOOLEAN  Whether the occurrence is cold, NULL outside every phase: see phases.
--   process_id      BIGINT   Operating-system pid. Joins processes.
--   device_id       BIGINT   GPU. Joins devices.
--   start_ns        BIGINT   Start of its first work on the GPU. Unit: ns.
--   end_ns          BIGINT   End of its last work on the GPU. Unit: ns.
--   dur_ns          BIGINT   end_ns - start_ns, gaps between nodes included. Unit: ns.
--   node_count      BIGINT   Recorded nodes, NULL in mode 'graph'.
--   node_time_ns    BIGINT   Sum of their durations, NULL in mode 'graph'. Unit: ns.
--   launch_start_ns BIGINT   Entry of the launching call. Unit: ns.
--   launch_end_ns   BIGINT   Return of the launching call. Unit: ns.
WITH part AS (
    SELECT
        process_id, device_id, api_id, graph_node_id >> 32 AS graph_id,
        CASE WHEN kind = 'graph' THEN op_id END AS op_id,
        phase, occurrence_id, is_warmup, is_cold, start_ns, end_ns, dur_ns, launch_start_ns, launch_end_ns
    FROM views.gpu_work
    WHERE kind = 'graph' OR graph_node_id IS NOT NULL
)
SELECT
    CASE WHEN op_id IS NULL THEN 'node' ELSE 'graph' END AS mode, graph_id, op_id, api_id,
    any_value(phase) AS phase, any_value(occurrence_id) AS occurrence_id, any_value(is_warmup) AS is_warmup, any_value(is_cold) AS is_cold,
    process_id, device_id, macros.first_timed_ns(start_ns, end_ns) AS start_ns, max(end_ns) AS end_ns,
    max(end_ns) - macros.first_timed_ns(start_ns, end_ns) AS dur_ns,
    CASE WHEN op_id IS NULL THEN count(*) END AS node_count,
    CASE WHEN op_id IS NULL THEN sum(dur_ns)::BIGINT END AS node_time_ns,
    any_value(launch_start_ns) AS launch_start_ns, any_value(launch_end_ns) AS launch_end_ns
FROM part
GROUP BY process_id, device_id, api_id, graph_id, op_id
