-- All GPU work of the trace.
-- Grain: one row.
-- requires: attribute.work_by_occurrence
-- columns:
--   kernel_count       BIGINT  Kernels.
--   kernel_time_ns     BIGINT  Sum of their durations. Unit: ns.
--   memop_count        BIGINT  Copies and fills.
--   memop_time_ns      BIGINT  Sum of their durations. Unit: ns.
--   graph_launch_count BIGINT  CUDA graphs recorded as a whole.
--   graph_time_ns      BIGINT  Sum of their durations. Unit: ns.
SELECT
    coalesce(sum(kernel_count), 0)::BIGINT AS kernel_count,
    coalesce(sum(kernel_time_ns), 0)::BIGINT AS kernel_time_ns,
    coalesce(sum(memcpy_count + memset_count), 0)::BIGINT AS memop_count,
    coalesce(sum(memcpy_time_ns + memset_time_ns), 0)::BIGINT AS memop_time_ns,
    coalesce(sum(graph_launch_count), 0)::BIGINT AS graph_launch_count,
    coalesce(sum(graph_time_ns), 0)::BIGINT AS graph_time_ns
FROM attribute.work_by_occurrence
