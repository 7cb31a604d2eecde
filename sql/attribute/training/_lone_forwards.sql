-- Forward passes without a backward that belong to a training step all the same: a teacher's, a reference model's. One that
-- computes no gradients is marked as `prefill`, or as `llama.prefill` where it is another model's; generation is no part of training: a
-- prefill in a request, or before the steps of an engine that generates in the trainer's process.
-- Algorithm: evaluation comes now and then. Each step but the first has such passes since the one before it: the least number of
-- them is a step's own, if half of the steps or more, and two at least, have just as many. A step with more has the last ones,
-- for evaluation runs before it begins; not those that a range of evaluation encloses.
-- Grain: occurrence_id.
-- materialize: table
-- empty without: attribute.training_passes
-- requires: attribute.training_passes, attribute.phase_ranges
-- columns:
--   occurrence_id BIGINT  Joins attribute.phase_ranges.
--   phase         VARCHAR 'forward', 'prefill', or either after the type of another model.
--   lane          BIGINT  Joins attribute.training_passes.
--   step          BIGINT  The step that it is of.
--   start_ns      BIGINT  Unit: ns.
--   end_ns        BIGINT  Unit: ns.
WITH step AS (
    SELECT lane, step, max(end_ns) AS end_ns FROM attribute.training_passes WHERE step IS NOT NULL GROUP BY lane, step
),
forward AS (
    SELECT
        p.occurrence_id, p.phase, p.start_ns, p.end_ns, p.global_tid, p.process_key,
        CASE WHEN p.global_tid IN (SELECT lane FROM step) THEN p.global_tid ELSE p.process_key END AS lane
    FROM attribute.phase_ranges AS p
    LEFT JOIN attribute.training_passes AS t USING (occurrence_id)
    WHERE t.step IS NULL AND p.request_id IS NULL AND NOT p.is_container
        AND regexp_full_match(p.phase, '(.+\.)?(forward|prefill)')
),
evaluated AS (
    SELECT p.occurrence_id
    FROM forward AS p
    ASOF JOIN (FROM attribute.phase_ranges WHERE phase = 'evaluation') AS e
        ON e.global_tid = p.global_tid AND e.start_ns <= p.start_ns
    WHERE p.end_ns <= e.end_ns
),
before_step AS (
    SELECT t.*, s.step, s.end_ns AS step_end_ns
    FROM (FROM forward ANTI JOIN evaluated USING (occurrence_id)) AS t
    ASOF JOIN step AS s ON s.lane = t.lane AND s.end_ns >= t.end_ns
),
lone AS (
    SELECT l.occurrence_id, l.phase, l.lane, l.step, l.start_ns, l.end_ns
    FROM before_step AS l
    ASOF LEFT JOIN (FROM attribute.phase_ranges WHERE phase IN ('decode', 'mixed', 'verify')) AS g
        ON g.process_key = l.process_key AND g.start_ns <= l.step_end_ns
    WHERE g.start_ns IS NULL OR g.start_ns < l.start_ns
),
counted AS (
    SELECT lane, step, count(l.occurrence_id) AS passes FROM step LEFT JOIN lone AS l USING (lane, step) GROUP BY lane, step
),
usual AS (
    SELECT lane, min(passes) AS passes FROM counted WHERE step > 0 GROUP BY lane HAVING count(*) > 1 AND min(passes) > 0
),
regular AS (
    SELECT u.lane, u.passes
    FROM usual AS u JOIN counted AS c USING (lane)
    WHERE c.step > 0
    GROUP BY u.lane, u.passes
    HAVING 2 * count(*) FILTER (c.passes = u.passes) >= count(*)
),
placed AS (
    SELECT *, row_number() OVER (PARTITION BY lane, step ORDER BY start_ns DESC, occurrence_id DESC) AS place,
        count(*) OVER (PARTITION BY lane, step) AS passes
    FROM lone
)
SELECT l.occurrence_id, l.phase, l.lane, l.step, l.start_ns, l.end_ns
FROM placed AS l JOIN regular AS r USING (lane)
WHERE l.place <= r.passes AND l.passes >= r.passes
