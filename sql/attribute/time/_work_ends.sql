-- When the GPU was done with the work of each occurrence that its thread's later ones wait for: what runs in streams
-- of the passes' kernels, whoever launches it. Copies in streams of their own may run on beside later passes: those of a
-- checkpoint, of offloading, of the next batch.
-- Algorithm: streams of passes are those in which threads with phases launch kernels or graphs in them. Where none of a phase's work
-- is in such a stream, they are those of its kernels, which other threads launch.
-- Grain: occurrence_id; those without such work are absent.
-- materialize: table
-- requires: attribute.gpu_work, attribute.phase_ranges
-- columns:
--   occurrence_id BIGINT Joins attribute.phase_ranges.
--   end_ns        BIGINT End of the last. Unit: ns.
WITH streamed AS (
    SELECT
        occurrence_id, process_key, device_id, stream_id, max(end_ns) AS end_ns,
        bool_or(kind IN ('kernel', 'graph')) AS has_kernels,
        bool_or(kind IN ('kernel', 'graph') AND method <> 'other_thread') AS has_own_kernels
    FROM attribute.gpu_work
    WHERE occurrence_id IS NOT NULL
    GROUP BY occurrence_id, process_key, device_id, stream_id
),
told AS (
    SELECT
        s.occurrence_id, s.process_key, p.phase, s.end_ns,
        bool_or(s.has_own_kernels) OVER (PARTITION BY s.process_key, s.device_id, s.stream_id) AS is_of_passes,
        bool_or(s.has_kernels) OVER (PARTITION BY s.process_key, s.device_id, s.stream_id, p.phase) AS is_of_kernels
    FROM streamed AS s JOIN attribute.phase_ranges AS p USING (occurrence_id)
),
chosen AS (
    SELECT *, bool_or(is_of_passes) OVER (PARTITION BY process_key, phase) AS has_own FROM told
)
SELECT occurrence_id, max(end_ns)::BIGINT AS end_ns
FROM chosen
WHERE CASE WHEN has_own THEN is_of_passes ELSE is_of_kernels END
GROUP BY occurrence_id
