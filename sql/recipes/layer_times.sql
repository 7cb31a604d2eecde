-- How long do the layers take?
-- GPU work launched directly inside ranges such as `layer.3.attn`, added up over occurrences; warm-up and cold ones left out.
-- params:
--   pattern=^layer  Regular expression that finds the layers' ranges by name.
-- columns:
--   phase         VARCHAR  Name of the phase.
--   layer         VARCHAR  Name of the range.
--   range_count   BIGINT   Ranges of this name that launched work.
--   kernel_count  BIGINT   Kernels.
--   gpu_time_ns   BIGINT   Sum of the durations of their GPU work. Unit: ns.
--   mean_ns       DOUBLE   gpu_time_ns / range_count. Unit: ns.
SELECT
    phase, range_name AS layer, count(DISTINCT range_id) AS range_count,
    count(*) FILTER (WHERE kind = 'kernel') AS kernel_count, sum(dur_ns)::BIGINT AS gpu_time_ns,
    (sum(dur_ns) / count(DISTINCT range_id))::DOUBLE AS mean_ns
FROM gpu_work ANTI JOIN (SELECT occurrence_id FROM phases WHERE NOT is_measured) USING (occurrence_id)
WHERE regexp_matches(range_name, $pattern)
GROUP BY phase, range_name
ORDER BY phase, gpu_time_ns DESC, layer
