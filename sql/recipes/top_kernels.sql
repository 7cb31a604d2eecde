-- Which kernels take the most GPU time in each phase?
-- Warm-up and cold occurrences are left out.
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
    phase, name, family, "count" - warmup_count - cold_count AS "count",
    time_ns - warmup_time_ns - cold_time_ns AS time_ns, share AS time_ratio
FROM top_kernels
WHERE rank <= $top AND "count" > warmup_count + cold_count
ORDER BY phase NULLS LAST, rank
