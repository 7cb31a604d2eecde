-- Cold occurrences outside warm-up: those that are several times slower than steady ones, the same steps on the other ranks of the
-- job, and the rest of training steps that hold some, or whose first one is slow as a whole. So ranks are compared over the same steps,
-- and all numbers are of the same training steps.
-- Algorithm: what shares a step of the job or a training step with a cold one is cold. If no training step were left, only
-- the passes that are slow themselves are, on all ranks.
-- Grain: occurrence_id.
-- materialize: table
-- empty without: attribute._slow_occurrences; attribute._training_step_times WHERE is_slow
-- requires: attribute._slow_occurrences, attribute.job_steps, attribute.training_passes, attribute._lone_forwards, attribute._training_step_times, attribute.phase_ranges, input.step_sizes
-- columns:
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   phase         VARCHAR  Name of the phase.
--   shape         VARCHAR  Its kind of shape, NULL where it is not known.
--   reason        VARCHAR  Of a slow one: see attribute._slow_occurrences. 'rank': it is slow on another rank. 'step': another pass
--                          of its training step is cold, or the step as a whole.
WITH RECURSIVE same AS (
    SELECT occurrence_id FROM attribute._slow_occurrences
    UNION
    -- Ranks may share some steps with these, and some with those.
    SELECT o.occurrence_id
    FROM same AS r
    JOIN attribute.job_steps AS s ON s.occurrence_id = r.occurrence_id
    JOIN attribute.job_steps AS o ON o.step_name = s.step_name
),
pass AS (
    SELECT occurrence_id, lane, step FROM attribute.training_passes WHERE step IS NOT NULL
    UNION ALL
    SELECT occurrence_id, lane, step FROM attribute._lone_forwards
),
shared AS (
    SELECT occurrence_id, step_name FROM attribute.job_steps SEMI JOIN pass USING (occurrence_id)
    UNION ALL
    SELECT occurrence_id, format('{}/{}', lane, step) FROM pass
),
whole AS (
    SELECT occurrence_id FROM pass SEMI JOIN same USING (occurrence_id)
    UNION
    SELECT p.occurrence_id FROM pass AS p JOIN attribute._training_step_times AS t USING (lane, step) WHERE t.is_slow
    UNION
    SELECT o.occurrence_id
    FROM whole AS r
    JOIN shared AS s ON s.occurrence_id = r.occurrence_id
    JOIN shared AS o ON o.step_name = s.step_name
),
reached AS (
    SELECT occurrence_id FROM same
    UNION
    SELECT occurrence_id
    FROM whole
    WHERE EXISTS (
        FROM pass AS p
        JOIN attribute._training_step_times AS t USING (lane, step)
        ANTI JOIN whole AS w ON w.occurrence_id = p.occurrence_id
        WHERE NOT t.is_warmup
    )
)
SELECT
    r.occurrence_id, p.phase, coalesce(s.shape, z.kind) AS shape,
    coalesce(s.reason, CASE WHEN a.occurrence_id IS NULL THEN 'step' ELSE 'rank' END) AS reason
FROM reached AS r
JOIN attribute.phase_ranges AS p USING (occurrence_id)
LEFT JOIN same AS a USING (occurrence_id)
LEFT JOIN attribute._slow_occurrences AS s USING (occurrence_id)
LEFT JOIN input.step_sizes AS z USING (occurrence_id)
WHERE NOT p.is_warmup
