-- Functions on Python's stacks, and lines of them, with their share of the time that was sampled.
-- Grain: phase, part, function, file, and line if is_line.
-- materialize: table
-- empty without: attribute.host_samples
-- requires: attribute.host_samples, attribute.occurrence_times, attribute.occurrences, attribute.phase_walls, load.python_frames, macros.sampled_error
-- columns:
--   phase         VARCHAR Phase as in the time budget, NULL outside every phase.
--   part          VARCHAR As in attribute.host_samples.counts_as.
--   function      VARCHAR A function on the stack.
--   file          VARCHAR Its file.
--   is_line       BOOLEAN Whether it is about one line, or about the function: about those of one name in one file.
--   line          BIGINT  The line that it is at; of a function the one that ran itself most often, NULL if none did.
--   self_samples  BIGINT  Samples in which it ran itself.
--   samples       BIGINT  Samples in which it was on the stack.
--   all_samples   BIGINT  Samples of the phase and part.
--   sample_ns     DOUBLE  Time that a sample stands for on one GPU. Unit: ns.
--   all_ns        BIGINT  Time that these stand for: of the classes of the budget, or wall time of the cold occurrences; NULL
--                         for 'busy'. Unit: ns.
--   self_ns       BIGINT  Estimated time in which it ran itself. Unit: ns.
--   self_error_ns BIGINT  Standard error of self_ns that comes from the number of samples. Unit: ns.
--   time_ns       BIGINT  Estimated time in which it was on the stack. Unit: ns.
--   time_error_ns BIGINT  Standard error of time_ns. Unit: ns.
WITH total AS (
    SELECT phase, counts_as AS part, count(DISTINCT sample_id) AS all_samples, count(*) AS all_count
    FROM attribute.host_samples
    WHERE counts_as IS NOT NULL
    GROUP BY phase, counts_as
),
budget AS (
    SELECT p.phase, t.class AS part, sum(t.time_ns)::BIGINT AS all_ns
    FROM attribute.occurrence_times AS t LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    WHERE t.class IN ('host', 'latency', 'launch', 'sync', 'api')
    GROUP BY ALL
    UNION ALL
    SELECT phase, 'cold', cold_wall_ns FROM attribute.phase_walls
),
frame AS (
    SELECT s.phase, s.counts_as AS part, f.function, f.file, f.line, f.sample_id, s.device_id, f.depth = 0 AS is_self
    FROM attribute.host_samples AS s JOIN load.python_frames AS f USING (sample_id)
    WHERE s.counts_as IS NOT NULL
),
place AS (
    SELECT
        phase, part, function, file, grouping(line) = 0 AS is_line,
        CASE WHEN grouping(line) = 0 THEN line ELSE mode(line ORDER BY line) FILTER (WHERE is_self) END AS line,
        count(DISTINCT sample_id) FILTER (WHERE is_self) AS self_samples,
        -- Recursion has it on the stack more than once.
        count(DISTINCT sample_id) AS samples,
        count(*) FILTER (WHERE is_self) AS self_count, count(DISTINCT (sample_id, device_id)) AS "count"
    FROM frame
    GROUP BY GROUPING SETS ((phase, part, function, file, line), (phase, part, function, file))
)
SELECT
    c.phase, c.part, c.function, c.file, c.is_line, c.line, c.self_samples, c.samples, t.all_samples,
    b.all_ns / t.all_count AS sample_ns, b.all_ns,
    (b.all_ns * c.self_count / t.all_count)::BIGINT AS self_ns,
    macros.sampled_error(b.all_ns, c.self_samples, t.all_samples)::BIGINT AS self_error_ns,
    (b.all_ns * c."count" / t.all_count)::BIGINT AS time_ns,
    macros.sampled_error(b.all_ns, c.samples, t.all_samples)::BIGINT AS time_error_ns
FROM place AS c
JOIN total AS t ON t.phase IS NOT DISTINCT FROM c.phase AND t.part = c.part
LEFT JOIN budget AS b ON b.phase IS NOT DISTINCT FROM c.phase AND b.part = c.part
