-- How much of each phase's kernel time is communication, warm-up included.
-- Grain: phase; NULL for kernels outside every phase.
-- requires: attribute.kernel_totals, attribute.kernel_families
-- columns:
--   phase               VARCHAR Its name, or NULL.
--   communication_ratio DOUBLE  Time of communication kernels / time of all kernels; NULL without communication.
SELECT
    k.phase,
    sum(k.time_ns) FILTER (WHERE f.family = 'communication') / nullif(sum(k.time_ns), 0) AS communication_ratio
FROM attribute.kernel_totals AS k
LEFT JOIN attribute.kernel_families AS f
    ON f.name_id IS NOT DISTINCT FROM k.name_id AND f.full_name_id IS NOT DISTINCT FROM k.full_name_id
GROUP BY k.phase
