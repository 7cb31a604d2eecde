-- First occurrences, not marked as warm-up, that take far longer than those after them.
-- Grain: an occurrence.
-- severity: warning
-- message: the first {what} took {wall_ns:ms} on the host and {gpu_busy_ns:ms} of GPU time, the median of those after it
--   {median_wall_ns:ms} and {median_gpu_busy_ns:ms}: it looks like warm-up
-- hint: put the first requests into a range called `warmup`, so that they do not count
-- concerns: views.phase_summary, views.shape_summary
-- requires: attribute.cold_occurrences
-- columns:
--   phase              VARCHAR Its phase.
--   at_stake_ns        BIGINT  Its host time above the median. Unit: ns.
--   what               VARCHAR Its phase, and its shape if that is known.
--   wall_ns            BIGINT  Its host time. Unit: ns.
--   gpu_busy_ns        BIGINT  Its GPU busy time. Unit: ns.
--   median_wall_ns     BIGINT  Median host time of those after it. Unit: ns.
--   median_gpu_busy_ns BIGINT  Median GPU busy time of those after it. Unit: ns.
SELECT
    phase, greatest(0, wall_ns - median_wall_ns) AS at_stake_ns,
    CASE WHEN shape IS NULL THEN phase ELSE phase || ' of ' || shape END AS what, wall_ns, gpu_busy_ns, median_wall_ns,
    median_gpu_busy_ns
FROM attribute.cold_occurrences
