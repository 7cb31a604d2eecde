-- What do the hardware counters say in each phase?
-- Samples of a GPU taken between the first start and the last end of a range's work on it; needs --gpu-metrics-devices.
-- columns:
--   phase   VARCHAR  Name of the phase.
--   metric  VARCHAR  Name of the counter.
--   unit    VARCHAR  Its unit.
--   samples BIGINT   Samples.
--   mean    DOUBLE   Mean.
--   max     BIGINT   Highest.
WITH span AS (
    SELECT phase, device_id, min(start_ns) AS gpu_start_ns, max(end_ns) AS gpu_end_ns
    FROM gpu_work SEMI JOIN (SELECT occurrence_id FROM phases WHERE is_measured) USING (occurrence_id)
    -- Work without times, from 0 to 0, is not where the others are.
    WHERE NOT (start_ns = end_ns AND start_ns <= 0)
    GROUP BY phase, occurrence_id, device_id
),
placed AS (
    SELECT m.metric, m.unit, m.value, m.at_ns, s.phase, s.gpu_end_ns
    FROM gpu_metrics AS m ASOF JOIN span AS s ON s.device_id = m.device_id AND s.gpu_start_ns <= m.at_ns
)
SELECT phase, metric, unit, count(*) AS samples, avg(value) AS mean, max(value) AS "max"
FROM placed
WHERE at_ns <= gpu_end_ns
GROUP BY phase, metric, unit
ORDER BY phase, metric, unit
