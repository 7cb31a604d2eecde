-- GPU work added up per occurrence of a phase and GPU.
-- Grain: occurrence_id, device_id. Work outside every phase is one group with occurrence_id NULL per process and GPU.
-- materialize: table
-- requires: attribute.gpu_work, macros.first_timed_ns
-- columns:
--   occurrence_id        BIGINT  Joins attribute.phase_ranges.
--   process_key          BIGINT  Joins load.processes.
--   device_id            BIGINT  Joins load.devices.
--   kernel_count         BIGINT  Kernels.
--   kernel_time_ns       BIGINT  Sum of their durations. Unit: ns.
--   memcpy_count         BIGINT  Copies.
--   memcpy_time_ns       BIGINT  Sum of their durations. Unit: ns.
--   memset_count         BIGINT  Fills.
--   memset_time_ns       BIGINT  Sum of their durations. Unit: ns.
--   graph_launch_count   BIGINT  CUDA graphs that were recorded as a whole.
--   graph_time_ns        BIGINT  Sum of their durations, gaps between their nodes included. Unit: ns.
--   first_start_ns       BIGINT  Start of the first. Unit: ns.
--   last_end_ns          BIGINT  End of the last. Unit: ns.
--   launch_latency_ns    BIGINT  Sum over kernels of start on the GPU - return of the launching call. Unit: ns.
--   launch_count         BIGINT  Kernels that this sum is over: those whose call returned before they started.
--   launch_call_count    BIGINT  Host calls that launched the work: a CUDA graph of a thousand kernels is one.
--   other_thread_count   BIGINT  Operations that were launched by a thread without the phase.
--   other_thread_time_ns BIGINT  Sum of their durations. Unit: ns.
WITH graph_call AS (
    -- Counting distinct calls is slow, and only nodes of graphs share one.
    SELECT occurrence_id, process_key, device_id, count(DISTINCT api_id) AS graph_call_count
    FROM attribute.gpu_work
    WHERE graph_node_id IS NOT NULL
    GROUP BY occurrence_id, process_key, device_id
),
work AS (
    SELECT
        occurrence_id, process_key, device_id,
        count(*) FILTER (WHERE kind = 'kernel') AS kernel_count,
        coalesce(sum(end_ns - start_ns) FILTER (WHERE kind = 'kernel'), 0)::BIGINT AS kernel_time_ns,
        count(*) FILTER (WHERE kind = 'memcpy') AS memcpy_count,
        coalesce(sum(end_ns - start_ns) FILTER (WHERE kind = 'memcpy'), 0)::BIGINT AS memcpy_time_ns,
        count(*) FILTER (WHERE kind = 'memset') AS memset_count,
        coalesce(sum(end_ns - start_ns) FILTER (WHERE kind = 'memset'), 0)::BIGINT AS memset_time_ns,
        count(*) FILTER (WHERE kind = 'graph') AS graph_launch_count,
        coalesce(sum(end_ns - start_ns) FILTER (WHERE kind = 'graph'), 0)::BIGINT AS graph_time_ns,
        -- Work without times, from 0 to 0, is not where the others are.
        macros.first_timed_ns(start_ns, end_ns) AS first_start_ns,
        max(end_ns) AS last_end_ns,
        coalesce(sum(start_ns - launch_end_ns) FILTER (WHERE kind = 'kernel' AND start_ns >= launch_end_ns), 0)::BIGINT
            AS launch_latency_ns,
        count(*) FILTER (WHERE kind = 'kernel' AND start_ns >= launch_end_ns) AS launch_count,
        count(api_id) FILTER (WHERE graph_node_id IS NULL) AS single_call_count,
        count(*) FILTER (WHERE method = 'other_thread') AS other_thread_count,
        coalesce(sum(end_ns - start_ns) FILTER (WHERE method = 'other_thread'), 0)::BIGINT AS other_thread_time_ns
    FROM attribute.gpu_work
    GROUP BY occurrence_id, process_key, device_id
)
SELECT
    w.occurrence_id, w.process_key, w.device_id, w.kernel_count, w.kernel_time_ns, w.memcpy_count, w.memcpy_time_ns,
    w.memset_count, w.memset_time_ns, w.graph_launch_count, w.graph_time_ns, w.first_start_ns, w.last_end_ns,
    w.launch_latency_ns, w.launch_count,
    w.single_call_count + coalesce(g.graph_call_count, 0) AS launch_call_count,
    w.other_thread_count, w.other_thread_time_ns
FROM work AS w
LEFT JOIN graph_call AS g
    ON g.occurrence_id IS NOT DISTINCT FROM w.occurrence_id AND g.process_key IS NOT DISTINCT FROM w.process_key
    AND g.device_id IS NOT DISTINCT FROM w.device_id
