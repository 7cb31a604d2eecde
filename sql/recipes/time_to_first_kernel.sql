-- How long does the GPU wait for the first kernel of a range?
-- From the opening of the range on the host to the start of its first work on the GPU.
-- columns:
--   phase VARCHAR  Name of the phase.
--   count BIGINT   Ranges with GPU work whose times were recorded; warm-up and cold ones left out.
--   mean  DOUBLE   Mean wait. Unit: ns.
--   min   BIGINT   Shortest. Unit: ns.
--   p50   DOUBLE   Median. Unit: ns.
--   p90   DOUBLE   90th percentile. Unit: ns.
--   p99   DOUBLE   99th percentile. Unit: ns.
--   max   BIGINT   Longest. Unit: ns.
WITH wait AS (
    SELECT phase AS group_id, gpu_start_ns - start_ns AS value
    FROM phases
    -- Work without times is from 0 to 0.
    WHERE is_measured AND NOT (gpu_start_ns = gpu_end_ns AND gpu_start_ns <= 0)
)
SELECT group_id AS phase, "count", mean, "min", p50, p90, p99, "max"
FROM percentiles('wait')
ORDER BY phase
