-- Which kernels take the most GPU time in each phase?
-- params:
--   top=10  Kernels of each phase.
-- columns:
--   phase      VARCHAR  Name of the phase, or NULL.
--   name       VARCHAR  Short kernel name.
--   family     VARCHAR  What kind of work it is.
--   count      BIGINT   Kernels.
--   time_ns    BIGINT   Sum of their durations. Unit: ns.
--   time_ratio DOUBLE   Share of the phase's kernel time.
SELECT
    phase, name, family, sum("count")::BIGINT AS "count", sum(time_ns)::BIGINT AS time_ns,
    (sum(time_ns) / nullif(sum(sum(time_ns)) OVER (PARTITION BY phase), 0))::DOUBLE AS time_ratio
FROM kernel_summary
GROUP BY phase, name, family
QUALIFY row_number() OVER (PARTITION BY phase ORDER BY sum(time_ns) DESC, name, family) <= $top
ORDER BY phase NULLS LAST, time_ns DESC, name, family
