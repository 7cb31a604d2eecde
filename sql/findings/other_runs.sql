-- Processes whose run marks describe another run than the first one: another model, other degrees or formats. Engines side by side have
-- such: prompts computed by one and tokens by another, or a model for embeddings beside one for text.
-- Grain: differs.
-- severity: warning
-- message: {process_count:,} processes run something else than the first that says what it runs (another {differs}): their {step_count:,}
--   steps have no FLOPs and no bytes, and neither have the phases that they share with the first
-- hint: a trace of each engine by itself has them; in a trace of all, --model chooses the engine that runs that model
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: input.other_runs
-- requires: input.other_runs, attribute.phase_ranges
-- columns:
--   phase         VARCHAR NULL: all of these processes.
--   at_stake_ns   BIGINT  NULL: no time is at stake. Unit: ns.
--   differs       VARCHAR 'model', 'parallel degree' or 'format'.
--   process_count BIGINT  Processes.
--   step_count    BIGINT  Their steps.
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, o.differs, count(DISTINCT o.process_key) AS process_count,
    count(p.occurrence_id) AS step_count
FROM input.other_runs AS o JOIN attribute.phase_ranges AS p USING (process_key)
GROUP BY o.differs
