-- What do the hardware counters say in each phase?
-- Samples of a GPU taken between the first start and the last end of a range's work on it; needs --gpu-metrics-devices.
-- A sample counts once in each phase that has such a range.
-- columns:
--   phase   VARCHAR  Name of the phase.
--   metric  VARCHAR  Name of the counter.
--   unit    VARCHAR  Its unit.
--   samples BIGINT   Samples.
--   mean    DOUBLE   Mean.
--   max     BIGINT   Highest.
WITH span AS (
    SELECT {'phase': phase, 'device_id': device_id} AS group_id, min(start_ns) AS start_ns, max(end_ns) AS end_ns
    FROM gpu_work SEMI JOIN (SELECT occurrence_id FROM phases WHERE is_measured) USING (occurrence_id)
    -- Work without times, from 0 to 0, is not where the others are.
    WHERE NOT (start_ns = end_ns AND start_ns <= 0)
    GROUP BY phase, occurrence_id, device_id
),
-- Ranges of a phase may overlap on a GPU; merged, at most one is open at any time.
island AS (
    SELECT group_id.phase AS phase, group_id.device_id AS device_id, start_ns, end_ns FROM islands('span')
),
placed AS (
    SELECT i.phase, t.device_id, t.at_ns
    FROM (SELECT DISTINCT device_id, at_ns FROM gpu_metrics) AS t
    JOIN island AS i ON i.device_id = t.device_id AND t.at_ns BETWEEN i.start_ns AND i.end_ns
)
SELECT p.phase, m.metric, m.unit, count(*) AS samples, avg(m.value) AS mean, max(m.value) AS "max"
FROM gpu_metrics AS m JOIN placed AS p USING (device_id, at_ns)
GROUP BY p.phase, m.metric, m.unit
ORDER BY p.phase, m.metric, m.unit
