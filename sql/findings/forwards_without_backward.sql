-- Forward passes that each training step has and that have no backward: they may be another model's.
-- Grain: phase.
-- severity: warning
-- message: each training step has forward passes without a backward ({pass_count:,} in all), as those of a teacher or of a reference model:
--   its time has them, its FLOPs and tokens do not, so that MFU is a lower bound; any FLOPs in the phase {phase} are the model's
-- concerns: estimate.training_steps, estimate.occurrence_costs
-- empty without: attribute.training_passes
-- requires: attribute.occurrences, attribute._lone_forwards
-- columns:
--   phase       VARCHAR That of the passes.
--   at_stake_ns BIGINT  Sum of the durations of measured ones. Unit: ns.
--   pass_count  BIGINT  Such passes.
SELECT l.phase, coalesce(sum(l.end_ns - l.start_ns) FILTER (o.is_measured), 0)::BIGINT AS at_stake_ns, count(*) AS pass_count
FROM attribute._lone_forwards AS l JOIN attribute.occurrences AS o USING (occurrence_id)
GROUP BY l.phase
