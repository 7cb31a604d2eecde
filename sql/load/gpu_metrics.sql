-- Hardware counters that nsys sampled on the GPU (`--gpu-metrics-devices`).
-- nsys 2025.3 writes unsigned values of 32 bits as signed ones: a clock above 2,147 MHz is negative there.
-- Grain: one row per sample of a metric.
-- requires: nsys.GPU_METRICS, nsys.TARGET_INFO_GPU_METRICS
-- columns:
--   at_ns     BIGINT   When it was sampled. Unit: ns.
--   source_id BIGINT   What was sampled: nsys' typeId, whose low byte is the GPU.
--   metric_id BIGINT   nsys' number of what was sampled, of this source.
--   metric    VARCHAR  Name with its unit in brackets, as nsys gives it, NULL where the export does not name it.
--   value     BIGINT   The sample.
WITH metric AS (
    SELECT typeId, metricId, any_value(metricName) AS metric
    FROM nsys.TARGET_INFO_GPU_METRICS
    GROUP BY typeId, metricId
)
SELECT m."timestamp" AS at_ns, m.typeId AS source_id, m.metricId::BIGINT AS metric_id, metric.metric,
    CASE WHEN m.value BETWEEN -2147483648 AND -1 THEN m.value + 4294967296 ELSE m.value END AS "value"
FROM nsys.GPU_METRICS AS m
LEFT JOIN metric ON metric.typeId = m.typeId AND metric.metricId = m.metricId
