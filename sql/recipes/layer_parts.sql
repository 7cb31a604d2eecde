-- Attention or MLP: which part of the layers takes the time?
-- As layer_times, with the number of the layer taken out of the name.
-- params:
--   pattern=^layer  Regular expression that finds the layers' ranges by name.
-- columns:
--   phase        VARCHAR  Name of the phase.
--   part         VARCHAR  Name of the range with `*` for numbers.
--   range_count  BIGINT   Ranges that launched work.
--   gpu_time_ns  BIGINT   Sum of the durations of their GPU work. Unit: ns.
--   time_ratio   DOUBLE   Share of all the layers' GPU time in the phase.
SELECT
    phase, regexp_replace(range_name, '\d+', '*', 'g') AS part, count(DISTINCT range_id) AS range_count,
    sum(dur_ns)::BIGINT AS gpu_time_ns, (sum(dur_ns) / sum(sum(dur_ns)) OVER (PARTITION BY phase))::DOUBLE AS time_ratio
FROM gpu_work ANTI JOIN (SELECT occurrence_id FROM phases WHERE NOT is_measured) USING (occurrence_id)
WHERE regexp_matches(range_name, $pattern)
GROUP BY phase, part
ORDER BY phase, gpu_time_ns DESC, part
