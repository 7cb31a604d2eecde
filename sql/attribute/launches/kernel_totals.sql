-- Kernels added up by phase and name.
-- Grain: phase, name_id, full_name_id; phase is NULL for work outside every phase.
-- materialize: table
-- requires: attribute._occurrence_kernels, attribute.occurrences
-- columns:
--   phase        VARCHAR  Name of the phase, or NULL.
--   name_id      BIGINT   Short name. Joins load.strings.
--   full_name_id BIGINT   Demangled name. Joins load.strings.
--   count        BIGINT   Kernels.
--   time_ns      BIGINT   Sum of their durations. Unit: ns.
--   warmup_count BIGINT   Of these, those in warm-up.
--   warmup_ns    BIGINT   Of this, the time in warm-up. Unit: ns.
--   cold_count   BIGINT   Those in cold occurrences that are left out.
--   cold_ns      BIGINT   The time in them. Unit: ns.
--   timed_count  BIGINT   Kernels with times, those in warm-up and in cold occurrences left out.
--   min_ns       BIGINT   Shortest. Unit: ns.
--   max_ns       BIGINT   Longest. Unit: ns.
SELECT
    p.phase, k.name_id, k.full_name_id, sum(k."count")::BIGINT AS "count", sum(k.time_ns)::BIGINT AS time_ns,
    coalesce(sum(k."count") FILTER (WHERE p.is_warmup), 0)::BIGINT AS warmup_count,
    coalesce(sum(k.time_ns) FILTER (WHERE p.is_warmup), 0)::BIGINT AS warmup_ns,
    coalesce(sum(k."count") FILTER (WHERE p.is_left_cold), 0)::BIGINT AS cold_count,
    coalesce(sum(k.time_ns) FILTER (WHERE p.is_left_cold), 0)::BIGINT AS cold_ns,
    coalesce(sum(k.timed_count) FILTER (WHERE coalesce(p.is_measured, true)), 0)::BIGINT AS timed_count,
    min(k.min_ns) AS min_ns, max(k.max_ns) AS max_ns
FROM attribute._occurrence_kernels AS k LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
GROUP BY p.phase, k.name_id, k.full_name_id
