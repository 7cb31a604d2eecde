-- Steps whose ranges say how many requests and tokens they have, and not how long each request is.
-- Grain: phase.
-- severity: info
-- message: {step_count:,} steps of {phase} do not say how long each request is: the FLOPs of their attention are only known within
--   bounds
-- hint: record with `llmperf capture --auto`, which marks the lengths; --max-context N, the longest that a request
--   can be, gives them an upper bound or lowers it
-- empty without: estimate.occurrence_costs
-- requires: estimate.occurrence_costs, attribute.occurrences
-- columns:
--   phase       VARCHAR Its phase.
--   at_stake_ns BIGINT  NULL: no time is at stake. Unit: ns.
--   step_count  BIGINT  Such steps outside warm-up.
SELECT p.phase, NULL::BIGINT AS at_stake_ns, count(*) AS step_count
FROM estimate.occurrence_costs AS c JOIN attribute.occurrences AS p USING (occurrence_id)
WHERE c.flops IS NULL AND c.flops_min IS NOT NULL AND p.is_measured
GROUP BY p.phase
