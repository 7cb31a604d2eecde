-- How many kernels are too short to be worth a launch?
-- A launch costs the host some microseconds; kernels shorter than that cannot keep a GPU busy one by one.
-- params:
--   limit_ns=5000  Kernels shorter than this. Unit: ns.
-- columns:
--   phase       VARCHAR  Name of the phase, or NULL.
--   count       BIGINT   Kernels.
--   short_count BIGINT   Of them, shorter than the limit.
--   short_ratio DOUBLE   short_count / count.
--   time_ns     BIGINT   Time of all kernels. Unit: ns.
--   short_time_ns BIGINT Time of the short ones. Unit: ns.
WITH kernel AS (
    -- Kernels without times, from 0 to 0, are not short.
    SELECT phase, dur_ns, dur_ns < $limit_ns AND NOT (start_ns = end_ns AND start_ns <= 0) AS is_short
    FROM gpu_work
    WHERE kind = 'kernel'
)
SELECT
    phase, count(*) AS "count", count(*) FILTER (WHERE is_short) AS short_count,
    count(*) FILTER (WHERE is_short) / count(*) AS short_ratio, sum(dur_ns)::BIGINT AS time_ns,
    coalesce(sum(dur_ns) FILTER (WHERE is_short), 0)::BIGINT AS short_time_ns
FROM kernel
GROUP BY phase
ORDER BY phase NULLS LAST
