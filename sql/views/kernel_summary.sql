-- Kernels added up by phase and name, warm-up included.
-- Grain: phase, name, full_name; phase is NULL for work outside every phase.
-- requires: attribute.kernel_totals, load.strings, attribute.kernel_families
-- columns:
--   phase        VARCHAR  Name of the phase, or NULL.
--   name         VARCHAR  Short kernel name.
--   full_name    VARCHAR  Demangled kernel name with its template arguments.
--   family       VARCHAR  What kind of work it is: 'gemm', 'attention', 'norm', …
--   count        BIGINT   Kernels.
--   time_ns      BIGINT   Sum of their durations. Unit: ns.
--   warmup_count BIGINT   Of these, those in occurrences inside warm-up.
--   warmup_ns    BIGINT   Of this, the time in occurrences inside warm-up. Unit: ns.
--   cold_count   BIGINT   Those in cold occurrences that are left out.
--   cold_ns      BIGINT   The time in them. Unit: ns.
--   min_ns       BIGINT   Shortest with times. Unit: ns.
--   max_ns       BIGINT   Longest. Unit: ns.
SELECT
    k.phase, short.value AS name, long.value AS full_name, f.family, k."count", k.time_ns,
    k.warmup_count, k.warmup_ns, k.cold_count, k.cold_ns, k.min_ns, k.max_ns
FROM attribute.kernel_totals AS k
LEFT JOIN load.strings AS short ON short.string_id = k.name_id
LEFT JOIN load.strings AS long ON long.string_id = k.full_name_id
LEFT JOIN attribute.kernel_families AS f ON f.name_id = k.name_id AND f.full_name_id IS NOT DISTINCT FROM k.full_name_id
