-- Which ranges took much longer than their phase usually does?
-- Ranges of one phase and shape against their median: warm-up that was not marked, garbage collection, preemption.
-- params:
--   factor=2.0  How many times the median counts as much.
--   top=20      Ranges to show.
-- columns:
--   occurrence_id   BIGINT   The range.
--   phase           VARCHAR  Name of the phase.
--   occurrence      BIGINT   Number within the phase.
--   is_warmup       BOOLEAN  Whether it is inside warm-up.
--   shape           VARCHAR  Its shape, where it is known.
--   wall_ns         BIGINT   Its host time. Unit: ns.
--   median_wall_ns  DOUBLE   Median of the phase's ranges of as many tokens. Unit: ns.
--   gpu_busy_ns     BIGINT   Its GPU busy time. Unit: ns.
--   median_busy_ns  DOUBLE   Median GPU busy time of the same. Unit: ns.
WITH typical AS (
    SELECT
        *, median(wall_ns) OVER (PARTITION BY phase, new_tokens) AS median_wall_ns,
        median(gpu_busy_ns) OVER (PARTITION BY phase, new_tokens) AS median_busy_ns
    FROM phases
)
SELECT
    occurrence_id, phase, occurrence, is_warmup, shape, wall_ns, median_wall_ns, gpu_busy_ns, median_busy_ns
FROM typical
WHERE wall_ns > $factor * median_wall_ns OR gpu_busy_ns > $factor * median_busy_ns
ORDER BY wall_ns - median_wall_ns DESC, occurrence_id
LIMIT $top
