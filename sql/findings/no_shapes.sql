-- Inference of a known model without one step whose shape is known.
-- Grain: one row, none if a step of prefill or decode has a shape.
-- severity: warning
-- message: the trace does not say how many tokens each step had, so there is no MFU and no MBU
-- hint: pass --batch, --prompt-tokens and --new-tokens, or one --shape BxP+N for each request
-- empty without: input.model
-- requires: attribute.phase_walls, input.model, estimate.phase_costs
-- columns:
--   phase       VARCHAR NULL: it is about all of them.
--   at_stake_ns BIGINT  Wall time of prefill and decode. Unit: ns.
SELECT NULL::VARCHAR AS phase, sum(w.wall_ns)::BIGINT AS at_stake_ns
FROM attribute.phase_walls AS w
LEFT JOIN estimate.phase_costs AS c USING (phase)
WHERE w.phase IN ('prefill', 'decode') AND EXISTS (FROM input.model)
HAVING count(*) > 0 AND count(c.measured_occurrences) = 0
