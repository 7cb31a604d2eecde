-- Forward passes without a backward that belong to a training step all the same: a teacher's, a reference model's. One that
-- computes no gradients is marked as `prefill`, or as `llama.prefill` where it is another model's; generation is no part of training.
-- Algorithm: evaluation comes now and then. Where each step but the first has the same number of such passes since the one
-- before, and there are two steps or more to tell it, they are of the step; not those that a range of evaluation encloses.
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
        p.occurrence_id, p.phase, p.start_ns, p.end_ns, p.global_tid,
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
lone AS (
    SELECT t.occurrence_id, t.phase, t.lane, s.step, t.start_ns, t.end_ns
    FROM (FROM forward ANTI JOIN evaluated USING (occurrence_id)) AS t
    ASOF JOIN step AS s ON s.lane = t.lane AND s.end_ns >= t.end_ns
),
counted AS (
    SELECT lane, step, count(l.occurrence_id) AS passes FROM step LEFT JOIN lone AS l USING (lane, step) GROUP BY lane, step
),
regular AS (
    SELECT lane, max(passes) AS passes
    FROM counted
    WHERE step > 0
    GROUP BY lane
    HAVING count(*) > 1 AND min(passes) = max(passes) AND min(passes) > 0
)
SELECT l.occurrence_id, l.phase, l.lane, l.step, l.start_ns, l.end_ns
FROM lone AS l JOIN counted AS c USING (lane, step) JOIN regular AS r ON r.lane = l.lane AND r.passes = c.passes
