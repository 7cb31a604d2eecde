-- One row per phase, GPU and process: the work of all its occurrences there, warm-up included.
-- Grain: phase, device_id, process_key.
-- materialize: table
-- requires: attribute.work_by_occurrence, attribute.busy_by_occurrence, attribute.phase_ranges, attribute._phase_device_spans, attribute.gpu_work, macros.busy_ns
-- columns:
--   phase              VARCHAR  Name of the phase.
--   device_id          BIGINT   Joins load.devices.
--   process_key        BIGINT   Joins load.processes.
--   kernel_count       BIGINT   Kernels.
--   kernel_time_ns     BIGINT   Sum of their durations. Unit: ns.
--   memop_count        BIGINT   Copies and fills.
--   memop_time_ns      BIGINT   Sum of their durations. Unit: ns.
--   graph_launch_count BIGINT   CUDA graphs recorded as a whole.
--   graph_time_ns      BIGINT   Sum of their durations. Unit: ns.
--   gpu_span_ns        BIGINT   From the first start to the last end, gaps included. Unit: ns.
--   gpu_busy_ns        BIGINT   Length of the union of the work. Unit: ns.
WITH interleaved_work AS (
    -- Of phases whose occurrences interleave on a GPU.
    SELECT json_array(p.phase, w.device_id, w.process_key)::VARCHAR AS group_id, w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    JOIN attribute.phase_ranges AS p USING (occurrence_id)
    JOIN attribute._phase_device_spans AS s
        ON s.phase = p.phase AND s.device_id = w.device_id AND s.process_key = w.process_key
    WHERE s.is_interleaved
),
work AS (
    SELECT
        p.phase, w.device_id, w.process_key,
        sum(w.kernel_count)::BIGINT AS kernel_count, sum(w.kernel_time_ns)::BIGINT AS kernel_time_ns,
        sum(w.memcpy_count + w.memset_count)::BIGINT AS memop_count,
        sum(w.memcpy_time_ns + w.memset_time_ns)::BIGINT AS memop_time_ns,
        sum(w.graph_launch_count)::BIGINT AS graph_launch_count, sum(w.graph_time_ns)::BIGINT AS graph_time_ns,
        sum(b.gpu_busy_ns)::BIGINT AS busy_sum_ns
    FROM attribute.work_by_occurrence AS w
    JOIN attribute.phase_ranges AS p USING (occurrence_id)
    LEFT JOIN attribute.busy_by_occurrence AS b
        ON b.occurrence_id = w.occurrence_id AND b.device_id = coalesce(w.device_id, 0)
    GROUP BY p.phase, w.device_id, w.process_key
),
interleaved AS (
    SELECT group_id, busy_ns FROM macros.busy_ns('interleaved_work')
)
SELECT
    phase, device_id, process_key, kernel_count, kernel_time_ns, memop_count, memop_time_ns, graph_launch_count,
    graph_time_ns, s.last_end_ns - s.first_start_ns AS gpu_span_ns, coalesce(i.busy_ns, busy_sum_ns) AS gpu_busy_ns
FROM work
JOIN attribute._phase_device_spans AS s USING (phase, device_id, process_key)
LEFT JOIN interleaved AS i ON i.group_id = json_array(phase, device_id, process_key)::VARCHAR
