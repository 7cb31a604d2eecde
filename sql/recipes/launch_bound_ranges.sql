-- Which ranges keep the GPU waiting most?
-- params:
--   top=20  Ranges to show.
-- columns:
--   occurrence_id BIGINT   The range.
--   phase         VARCHAR  Name of the phase.
--   occurrence    BIGINT   Number within the phase.
--   wall_ns       BIGINT   Host time. Unit: ns.
--   gpu_busy_ns   BIGINT   GPU busy time. Unit: ns.
--   idle_ns       BIGINT   Host time with the GPU's work left out, 0 where the GPU took longer. Unit: ns.
--   busy_ratio    DOUBLE   gpu_busy_ns / wall_ns, NULL where the GPU took longer.
SELECT
    occurrence_id, phase, occurrence, wall_ns, gpu_busy_ns, greatest(0, wall_ns - gpu_busy_ns) AS idle_ns,
    CASE WHEN gpu_busy_ns <= wall_ns THEN gpu_busy_ns / nullif(wall_ns, 0) END AS busy_ratio
FROM phases
WHERE is_measured
ORDER BY idle_ns DESC, occurrence_id
LIMIT $top
