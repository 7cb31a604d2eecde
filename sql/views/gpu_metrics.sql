-- Hardware counters that nsys sampled on the GPU (`--gpu-metrics-devices`): one row per sample and metric.
-- Grain: device_id, at_ns, metric; empty where the capture sampled none.
-- requires: load.gpu_metrics, load._metric_devices
-- columns:
--   device_id BIGINT   GPU. Joins devices.
--   at_ns     BIGINT   When it was sampled. Unit: ns.
--   metric    VARCHAR  Name without its unit, such as 'Tensor Active'.
--   unit      VARCHAR  Unit as nsys gives it: 'Throughput %', 'Hz', 'Avg Warps per Cycle', …; NULL where it gives none.
--                      Frequencies that it calls MHz and gives in Hz are 'Hz'.
--   value     BIGINT   The sample, in nsys' own scale: percentages are 0 to 100.
SELECT
    d.device_id, at_ns, regexp_replace(metric, '\s*\[[^\]]*\]\s*$', '') AS metric,
    -- A clock below 1 MHz would be in MHz after all.
    CASE
        WHEN "value" >= 1000000 AND regexp_matches(metric, '\[MHz\]\s*$') THEN 'Hz'
        ELSE nullif(regexp_extract(metric, '\[([^\]]*)\]\s*$', 1), '')
    END AS unit, "value"
FROM load.gpu_metrics LEFT JOIN load._metric_devices AS d USING (source_id)
