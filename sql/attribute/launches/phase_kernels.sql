-- Measured kernels of each phase by name: what causes about kernels weigh.
-- Grain: phase, name, full_name; phase is NULL outside every phase, for what starts in measured time.
-- materialize: table
-- requires: attribute.kernel_totals, attribute._unmeasured_ops, attribute.kernel_families, load.strings
-- columns:
--   phase     VARCHAR Name of the phase, or NULL.
--   name      VARCHAR Short kernel name.
--   full_name VARCHAR Demangled kernel name.
--   name_id   BIGINT  Joins load.strings.
--   full_name_id BIGINT Joins load.strings.
--   family    VARCHAR 'gemm', 'attention', 'norm', …
--   count     BIGINT  Kernels outside warm-up and cold occurrences.
--   timed_count BIGINT Of these, those with times: what a mean is of.
--   time_ns   BIGINT  Sum of their durations. Unit: ns.
WITH unmeasured AS (
    SELECT name_id, full_name_id, count(*) AS "count", count(*) FILTER (time_ns > 0) AS timed_count, sum(time_ns)::BIGINT AS time_ns
    FROM attribute._unmeasured_ops
    WHERE is_kernel
    GROUP BY name_id, full_name_id
),
measured AS (
    SELECT
        k.phase, k.name_id, k.full_name_id, k."count" - k.warmup_count - k.cold_count - coalesce(u."count", 0) AS "count",
        k.timed_count - coalesce(u.timed_count, 0) AS timed_count,
        k.time_ns - k.warmup_ns - k.cold_ns - coalesce(u.time_ns, 0) AS time_ns
    FROM attribute.kernel_totals AS k
    LEFT JOIN unmeasured AS u
        ON k.phase IS NULL AND u.name_id IS NOT DISTINCT FROM k.name_id AND u.full_name_id IS NOT DISTINCT FROM k.full_name_id
)
SELECT
    k.phase, short.value AS name, long.value AS full_name, k.name_id, k.full_name_id, f.family, k."count", k.timed_count,
    k.time_ns
FROM measured AS k
LEFT JOIN load.strings AS short ON short.string_id = k.name_id
LEFT JOIN load.strings AS long ON long.string_id = k.full_name_id
LEFT JOIN attribute.kernel_families AS f ON f.name_id = k.name_id AND f.full_name_id IS NOT DISTINCT FROM k.full_name_id
WHERE k."count" > 0
