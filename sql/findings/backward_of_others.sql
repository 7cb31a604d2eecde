-- Backwards that are not of the model that the run describes alone, as their marks say: of another model, or of a head beside a frozen one.
-- Grain: phase.
-- severity: warning
-- message: {pass_count:,} of {all_count:,} ranges of {phase} go through another model, or through none: a head on what the model returned
--   without gradients is trained; their FLOPs are not known, nor those of training steps that have any
-- concerns: estimate.training_steps, estimate.occurrence_costs
-- empty without: attribute._told_backwards
-- requires: attribute._told_backwards, attribute.occurrences, estimate.phase_costs
-- columns:
--   phase       VARCHAR 'backward'.
--   at_stake_ns BIGINT  Sum of the durations of measured ones. Unit: ns.
--   pass_count  BIGINT  Such ranges.
--   all_count   BIGINT  All ranges of the phase.
SELECT
    p.phase,
    coalesce(sum(p.end_ns - p.start_ns) FILTER (WHERE len(t.forward_ids) = 0 AND p.is_measured), 0)::BIGINT AS at_stake_ns,
    count(*) FILTER (WHERE len(t.forward_ids) = 0) AS pass_count, count(*) AS all_count
FROM attribute.occurrences AS p
LEFT JOIN attribute._told_backwards AS t USING (occurrence_id)
SEMI JOIN estimate.phase_costs AS c ON c.phase = p.phase
WHERE p.phase = 'backward'
GROUP BY p.phase
HAVING count(*) FILTER (WHERE len(t.forward_ids) = 0) > 0
