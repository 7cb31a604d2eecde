-- Passes whose LM head runs on positions that only the GPU knows: a loss that scores none but tokens with a label.
-- Grain: phase.
-- severity: warning
-- message: in {pass_count:,} passes of {phase} the LM head is fused with the loss and runs for tokens with a label, whose number is on the GPU
--   alone: the head's FLOPs are not counted
-- hint: MFU of the phase, of the backward and of the training steps is a lower bound
-- concerns: estimate.training_steps, estimate.occurrence_costs
-- empty without: attribute.step_marks WHERE contains("text", '"head":"unknown"')
-- requires: attribute.step_marks, attribute.occurrences
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Sum of the durations of measured ones. Unit: ns.
--   pass_count  BIGINT  Such passes.
SELECT p.phase, coalesce(sum(p.end_ns - p.start_ns) FILTER (p.is_measured), 0)::BIGINT AS at_stake_ns, count(*) AS pass_count
FROM attribute.step_marks AS m JOIN attribute.occurrences AS p USING (occurrence_id)
WHERE contains(m."text", '"head":"unknown"')
GROUP BY p.phase
