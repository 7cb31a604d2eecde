-- Passes of training whose model has no head, so that its program computes the loss itself: with an LM head of its own, or without one.
-- Grain: phase.
-- severity: info
-- message: {pass_count:,} passes of {phase} are of the model below its head: an LM head that the program runs itself is not counted
-- hint: if there is one, MFU of backward and of the training steps is a lower bound
-- concerns: estimate.training_steps, estimate.occurrence_costs
-- empty without: attribute.step_marks WHERE contains("text", '"head":"apart"')
-- requires: attribute.step_marks, attribute.occurrences, attribute.training_passes
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Sum of the durations of measured ones. Unit: ns.
--   pass_count  BIGINT  Such passes.
SELECT p.phase, coalesce(sum(p.end_ns - p.start_ns) FILTER (p.is_measured), 0)::BIGINT AS at_stake_ns, count(*) AS pass_count
FROM attribute.step_marks AS m
JOIN attribute.occurrences AS p USING (occurrence_id)
SEMI JOIN (FROM attribute.training_passes WHERE part = 'forward' AND step IS NOT NULL) AS t ON t.occurrence_id = p.occurrence_id
WHERE contains(m."text", '"head":"apart"')
GROUP BY p.phase
