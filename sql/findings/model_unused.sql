-- A known model whose tokens per step nobody knows, in phases that are no inference.
-- Grain: one row, none if a step has a shape, or with prefill or decode.
-- severity: warning
-- message: the model is known, but not how many tokens the steps of {phases} had: there is no FLOP count and no MFU
-- hint: record with `llmperf capture --auto`, or mark steps with their shapes (`nsys_pipeline.markers.phase`)
-- empty without: input.model
-- requires: attribute.phase_walls, input.model, estimate.phase_costs
-- columns:
--   phase       VARCHAR NULL: it is about all of them.
--   at_stake_ns BIGINT  Wall time of the phases. Unit: ns.
--   phases      VARCHAR Their names.
SELECT
    NULL::VARCHAR AS phase, sum(w.wall_ns)::BIGINT AS at_stake_ns,
    string_agg(DISTINCT w.phase, ', ' ORDER BY w.phase) AS phases
FROM attribute.phase_walls AS w
LEFT JOIN estimate.phase_costs AS c USING (phase)
WHERE EXISTS (FROM input.model)
HAVING count(*) > 0 AND count(*) FILTER (WHERE w.phase IN ('prefill', 'decode')) = 0 AND count(c.measured_occurrences) = 0
