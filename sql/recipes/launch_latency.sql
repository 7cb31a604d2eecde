-- How long do kernels wait between launch and start?
-- From the return of the launching call to the start on the GPU. Long waits mean that the host runs ahead of a busy GPU;
-- waits of a few microseconds mean that the GPU waits for the host.
-- columns:
--   phase VARCHAR  Name of the phase, or NULL.
--   count BIGINT   Kernels launched outside graphs, whose call and times were recorded.
--   mean  DOUBLE   Mean wait. Unit: ns.
--   min   BIGINT   Shortest: negative where a kernel started before its call returned. Unit: ns.
--   p50   DOUBLE   Median. Unit: ns.
--   p90   DOUBLE   90th percentile. Unit: ns.
--   p99   DOUBLE   99th percentile. Unit: ns.
--   max   BIGINT   Longest. Unit: ns.
WITH wait AS (
    SELECT phase AS group_id, launch_latency_ns AS value FROM gpu_work WHERE kind = 'kernel' AND graph_node_id IS NULL
)
SELECT group_id AS phase, "count", mean, "min", p50, p90, p99, "max"
FROM percentiles('wait')
ORDER BY phase NULLS LAST
