-- Kernels added up by occurrence of a phase and name.
-- Grain: occurrence_id, name_id, full_name_id; occurrence_id is NULL for work outside every phase.
-- materialize: temporary
-- requires: attribute.gpu_work, macros.is_timed
-- columns:
--   occurrence_id BIGINT Joins attribute.phase_ranges, or NULL.
--   name_id       BIGINT Short name. Joins load.strings.
--   full_name_id  BIGINT Demangled name. Joins load.strings.
--   count         BIGINT Kernels.
--   timed_count   BIGINT Of these, those with times.
--   time_ns       BIGINT Sum of their durations. Unit: ns.
--   min_ns        BIGINT Shortest. Unit: ns.
--   max_ns        BIGINT Longest. Unit: ns.
SELECT
    occurrence_id, name_id, full_name_id, count(*) AS "count", count(*) FILTER (end_ns > start_ns) AS timed_count,
    sum(end_ns - start_ns)::BIGINT AS time_ns,
    -- Those without times, from 0 to 0, are not the shortest.
    coalesce(min(end_ns - start_ns) FILTER (WHERE macros.is_timed(start_ns, end_ns)), 0) AS min_ns, max(end_ns - start_ns) AS max_ns
FROM attribute.gpu_work
WHERE kind = 'kernel'
GROUP BY occurrence_id, name_id, full_name_id
