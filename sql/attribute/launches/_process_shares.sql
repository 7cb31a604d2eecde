-- What each process has of the trace's ranges and of its GPU work.
-- Grain: process_key; empty in a trace of one process.
-- materialize: table
-- empty without: load.processes WHERE has_events AND process_key > (SELECT min(process_key) FROM load.processes WHERE has_events)
-- requires: load.processes, load.nvtx_ranges, load.range_names, input.library_ranges, load.diagnostics, attribute.phase_ranges, attribute.work_by_occurrence
-- columns:
--   process_key     BIGINT   Joins load.processes.
--   label           VARCHAR  Pid and name, in words.
--   range_count     BIGINT   Ranges that no library wrote.
--   phase_count     BIGINT   Occurrences of phases, warm-up that is one left out.
--   operation_count BIGINT   GPU operations.
--   kernel_count    BIGINT   Kernels, and CUDA graphs recorded as a whole.
--   work_ns         BIGINT   Sum of the durations of its GPU operations. Unit: ns.
--   lost_ranges     BOOLEAN  Whether nsys noted that it may have lost ranges of it.
--   lost_work       BOOLEAN  Whether nsys noted that it may have lost CUDA events of it.
WITH own_range AS (
    SELECT r.process_key, count(*) AS range_count
    FROM load.nvtx_ranges AS r
    JOIN load.range_names AS n ON n.domain = r.domain AND n.name = r.name
    ANTI JOIN input.library_ranges AS l ON l.domain = n.domain AND l.pattern = n.pattern
    GROUP BY r.process_key
),
phase AS (
    SELECT process_key, count(*) AS phase_count FROM attribute.phase_ranges WHERE phase <> 'warmup' GROUP BY process_key
),
work AS (
    SELECT
        process_key, sum(kernel_count + memcpy_count + memset_count + graph_launch_count)::BIGINT AS operation_count,
        sum(kernel_count + graph_launch_count)::BIGINT AS kernel_count,
        sum(kernel_time_ns + memcpy_time_ns + memset_time_ns + graph_time_ns)::BIGINT AS work_ns
    FROM attribute.work_by_occurrence
    GROUP BY process_key
),
said AS (
    SELECT
        process_id, bool_or(message = 'Not all NVTX events might have been collected.') AS lost_ranges,
        bool_or(message = 'Not all CUDA events might have been collected.') AS lost_work
    FROM load.diagnostics
    GROUP BY process_id
)
SELECT
    p.process_key, concat('process ', p.process_id, CASE WHEN p.name <> '' THEN ' (' || p.name || ')' END) AS "label",
    coalesce(own_range.range_count, 0) AS range_count, coalesce(phase.phase_count, 0) AS phase_count,
    coalesce(work.operation_count, 0) AS operation_count, coalesce(work.kernel_count, 0) AS kernel_count,
    coalesce(work.work_ns, 0) AS work_ns,
    coalesce(said.lost_ranges, false) AS lost_ranges, coalesce(said.lost_work, false) AS lost_work
FROM load.processes AS p
LEFT JOIN own_range USING (process_key)
LEFT JOIN phase USING (process_key)
LEFT JOIN work USING (process_key)
LEFT JOIN said USING (process_id)
WHERE p.has_events AND (SELECT count(*) FROM load.processes WHERE has_events) > 1
