-- GPU work in no phase, added up by kind.
-- Grain: one row.
-- requires: attribute.unattributed_work
-- columns:
--   kernel_count       BIGINT Kernels.
--   kernel_time_ns     BIGINT Sum of their durations. Unit: ns.
--   memop_count        BIGINT Copies and fills.
--   memop_time_ns      BIGINT Sum of their durations. Unit: ns.
--   graph_launch_count BIGINT CUDA graphs recorded as a whole.
--   graph_time_ns      BIGINT Sum of their durations. Unit: ns.
SELECT
    coalesce(sum("count") FILTER (WHERE kind = 'kernel'), 0)::BIGINT AS kernel_count,
    coalesce(sum(time_ns) FILTER (WHERE kind = 'kernel'), 0)::BIGINT AS kernel_time_ns,
    coalesce(sum("count") FILTER (WHERE kind IN ('memcpy', 'memset')), 0)::BIGINT AS memop_count,
    coalesce(sum(time_ns) FILTER (WHERE kind IN ('memcpy', 'memset')), 0)::BIGINT AS memop_time_ns,
    coalesce(sum("count") FILTER (WHERE kind = 'graph'), 0)::BIGINT AS graph_launch_count,
    coalesce(sum(time_ns) FILTER (WHERE kind = 'graph'), 0)::BIGINT AS graph_time_ns
FROM attribute.unattributed_work
