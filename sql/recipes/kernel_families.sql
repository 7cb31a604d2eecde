-- What kinds of kernels make up a phase?
-- Warm-up and cold occurrences count; top_kernels leaves them out.
-- columns:
--   phase      VARCHAR  Name of the phase, or NULL.
--   family     VARCHAR  'gemm', 'attention', 'norm', …
--   count      BIGINT   Kernels.
--   time_ns    BIGINT   Sum of their durations. Unit: ns.
--   time_ratio DOUBLE   Share of the phase's kernel time.
--   mean_ns    DOUBLE   time_ns / count: kernels without times count as 0. Unit: ns.
SELECT
    phase, family, sum("count")::BIGINT AS "count", sum(time_ns)::BIGINT AS time_ns,
    (sum(time_ns) / nullif(sum(sum(time_ns)) OVER (PARTITION BY phase), 0))::DOUBLE AS time_ratio,
    (sum(time_ns) / sum("count"))::DOUBLE AS mean_ns
FROM kernel_summary
GROUP BY phase, family
ORDER BY phase NULLS LAST, time_ns DESC, family
