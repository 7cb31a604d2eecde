-- How even are the ranges of a phase?
-- Percentiles of host time and GPU busy time per phase; warm-up and cold ranges left out. Busy time is added up over the GPUs of a range.
-- columns:
--   phase VARCHAR  Name of the phase.
--   clock VARCHAR  'wall' or 'gpu busy'.
--   count BIGINT   Ranges.
--   mean  DOUBLE   Mean. Unit: ns.
--   p50   DOUBLE   Median. Unit: ns.
--   p90   DOUBLE   90th percentile. Unit: ns.
--   p99   DOUBLE   99th percentile. Unit: ns.
--   max   BIGINT   Longest. Unit: ns.
WITH clock AS (
    SELECT (phase, 'wall') AS group_id, wall_ns AS value FROM phases WHERE is_measured
    UNION ALL
    SELECT (phase, 'gpu busy'), gpu_busy_ns FROM phases WHERE is_measured
)
SELECT group_id[1] AS phase, group_id[2] AS clock, "count", mean, p50, p90, p99, "max"
FROM percentiles('clock')
ORDER BY phase, clock DESC
