-- What do the hardware counters say in each phase?
-- Samples taken between the first start and the last end of a range's GPU work; needs --gpu-metrics-devices.
-- columns:
--   phase   VARCHAR  Name of the phase.
--   metric  VARCHAR  Name of the counter.
--   unit    VARCHAR  Its unit as nsys gives it.
--   samples BIGINT   Samples.
--   mean    DOUBLE   Mean.
--   max     BIGINT   Highest.
WITH span AS (
    SELECT phase, gpu_start_ns, gpu_end_ns FROM phases WHERE gpu_start_ns IS NOT NULL AND NOT is_warmup
),
placed AS (
    SELECT m.metric, m.unit, m.value, m.at_ns, s.phase, s.gpu_end_ns
    FROM gpu_metrics AS m ASOF JOIN span AS s ON s.gpu_start_ns <= m.at_ns
)
SELECT phase, metric, unit, count(*) AS samples, avg(value) AS mean, max(value) AS "max"
FROM placed
WHERE at_ns <= gpu_end_ns
GROUP BY phase, metric, unit
ORDER BY phase, metric, unit
