-- First occurrences of a phase, outside warm-up, that take far longer than the rest: memory is being allocated, modules
-- are being loaded, algorithms are being chosen. They belong into warm-up.
-- Compared are occurrences of one shape in one process, at least three after the first. Cold means more than three
-- times the median, on the host or on the GPU. Where shapes are not known a longer prompt looks the same, so there the
-- host time must have grown three times more than the GPU time.
-- Grain: occurrence_id.
-- materialize: table
-- requires: attribute.phase_ranges, attribute.busy_by_occurrence, input.occurrence_shapes, input.shapes
-- columns:
--   occurrence_id      BIGINT   Joins attribute.phase_ranges.
--   phase              VARCHAR  Name of the phase.
--   shape              VARCHAR  Its shape, NULL where it is not known.
--   wall_ns            BIGINT   Its host time. Unit: ns.
--   gpu_busy_ns        BIGINT   GPU busy time, added up over GPUs. Unit: ns.
--   median_wall_ns     BIGINT   Median of the occurrences after it. Unit: ns.
--   median_gpu_busy_ns BIGINT   Median of the occurrences after it. Unit: ns.
WITH busy AS (
    SELECT occurrence_id, sum(gpu_busy_ns)::BIGINT AS gpu_busy_ns
    FROM attribute.busy_by_occurrence
    GROUP BY occurrence_id
),
measured AS (
    SELECT
        p.occurrence_id, p.phase, p.process_key, s.kind AS shape, p.wall_ns,
        coalesce(b.gpu_busy_ns, 0) AS gpu_busy_ns,
        row_number() OVER (PARTITION BY p.phase, p.process_key, s.kind ORDER BY p.start_ns, p.occurrence_id) AS place
    FROM attribute.phase_ranges AS p
    LEFT JOIN busy AS b USING (occurrence_id)
    LEFT JOIN input.occurrence_shapes AS o USING (occurrence_id)
    LEFT JOIN input.shapes AS s USING (shape_id)
    WHERE NOT p.is_warmup
),
rest AS (
    SELECT
        phase, process_key, shape, count(*) AS occurrences, median(wall_ns)::BIGINT AS median_wall_ns,
        median(gpu_busy_ns)::BIGINT AS median_gpu_busy_ns
    FROM measured
    WHERE place > 1
    GROUP BY phase, process_key, shape
)
SELECT m.occurrence_id, m.phase, m.shape, m.wall_ns, m.gpu_busy_ns, r.median_wall_ns, r.median_gpu_busy_ns
FROM measured AS m
JOIN rest AS r
    ON r.phase = m.phase AND r.process_key = m.process_key AND r.shape IS NOT DISTINCT FROM m.shape
WHERE m.place = 1 AND r.occurrences >= 3
    AND CASE
        WHEN m.shape IS NOT NULL THEN m.wall_ns > 3 * r.median_wall_ns OR m.gpu_busy_ns > 3 * r.median_gpu_busy_ns
        ELSE m.wall_ns::DOUBLE * r.median_gpu_busy_ns > 3.0 * r.median_wall_ns * greatest(m.gpu_busy_ns, r.median_gpu_busy_ns)
    END
