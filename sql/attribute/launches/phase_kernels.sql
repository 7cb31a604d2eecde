-- Measured kernels of each phase by name: what causes about kernels weigh.
-- Grain: phase, name, full_name; phase is NULL outside every phase.
-- materialize: table
-- requires: attribute.kernel_totals, attribute.kernel_families, load.strings
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
SELECT
    k.phase, short.value AS name, long.value AS full_name, k.name_id, k.full_name_id, f.family, k."count" - k.warmup_count - k.cold_count AS "count",
    k.timed_count, k.time_ns - k.warmup_ns - k.cold_ns AS time_ns
FROM attribute.kernel_totals AS k
LEFT JOIN load.strings AS short ON short.string_id = k.name_id
LEFT JOIN load.strings AS long ON long.string_id = k.full_name_id
LEFT JOIN attribute.kernel_families AS f ON f.name_id = k.name_id AND f.full_name_id IS NOT DISTINCT FROM k.full_name_id
WHERE k."count" > k.warmup_count + k.cold_count
