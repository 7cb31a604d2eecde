-- Which ranges keep the GPU waiting most?
-- Of a range that uses several GPUs, their mean.
-- params:
--   top=20  Ranges to show.
-- columns:
--   occurrence_id BIGINT   The range.
--   phase         VARCHAR  Name of the phase.
--   occurrence    BIGINT   Number within the phase.
--   wall_ns       BIGINT   Host time. Unit: ns.
--   gpu_busy_ns   BIGINT   GPU busy time, added up over its GPUs. Unit: ns.
--   idle_ns       BIGINT   Host time with the work of a GPU left out, 0 where the GPUs took longer. Unit: ns.
--   busy_ratio    DOUBLE   gpu_busy_ns / (wall_ns * its GPUs), NULL where they took longer.
WITH used AS (
    SELECT occurrence_id, count(DISTINCT device_id) AS device_count FROM gpu_work GROUP BY occurrence_id
),
range_time AS (
    SELECT p.*, coalesce(u.device_count, 1) AS device_count
    FROM phases AS p LEFT JOIN used AS u USING (occurrence_id)
    WHERE p.is_measured
)
SELECT
    occurrence_id, phase, occurrence, wall_ns, gpu_busy_ns,
    greatest(0, wall_ns - gpu_busy_ns / device_count)::BIGINT AS idle_ns,
    CASE WHEN gpu_busy_ns <= wall_ns * device_count THEN gpu_busy_ns / nullif(wall_ns * device_count, 0) END AS busy_ratio
FROM range_time
ORDER BY idle_ns DESC, occurrence_id
LIMIT $top
