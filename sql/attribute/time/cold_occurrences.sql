-- Cold occurrences outside warm-up: those that are several times slower than steady ones, and the same steps on the other ranks
-- of the job, which wait for them. So ranks are compared over the same steps.
-- Grain: occurrence_id.
-- materialize: table
-- requires: attribute._slow_occurrences, attribute.job_steps, attribute.phase_ranges, input.step_sizes
-- columns:
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   phase         VARCHAR  Name of the phase.
--   shape         VARCHAR  Its kind of shape, NULL where it is not known.
--   reason        VARCHAR  Of a slow one: see attribute._slow_occurrences. 'rank': it is slow on another rank.
WITH RECURSIVE reached AS (
    SELECT occurrence_id FROM attribute._slow_occurrences
    UNION
    -- Ranks may share some steps with these, and some with those.
    SELECT o.occurrence_id
    FROM reached AS r
    JOIN attribute.job_steps AS s ON s.occurrence_id = r.occurrence_id
    JOIN attribute.job_steps AS o ON o.step_name = s.step_name
)
SELECT r.occurrence_id, p.phase, coalesce(s.shape, z.kind) AS shape, coalesce(s.reason, 'rank') AS reason
FROM reached AS r
JOIN attribute.phase_ranges AS p USING (occurrence_id)
LEFT JOIN attribute._slow_occurrences AS s USING (occurrence_id)
LEFT JOIN input.step_sizes AS z USING (occurrence_id)
WHERE NOT p.is_warmup
