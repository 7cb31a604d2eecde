-- Passes that came with a mask, or with positions, of which the host did not know what they say.
-- Grain: phase.
-- severity: warning
-- message: {pass_count:,} of {of:,} passes of {phase} got a mask or positions that only the GPU knows: padding and packed sequences count
--   as tokens in their tokens, FLOPs, MFU and MBU
-- hint: move what the tokenizer returns as a whole (`inputs.to(device)`, or accelerate's data loader), or say the lengths with
--   `nsys_pipeline.markers.step`
-- concerns: estimate.occurrence_costs, views.phases, views.phase_summary
-- empty without: input.shapes WHERE is_unread
-- requires: input.occurrence_shapes, input.shapes, attribute.occurrences
-- columns:
--   phase       VARCHAR Its phase.
--   at_stake_ns BIGINT  NULL: no time is at stake. Unit: ns.
--   pass_count  BIGINT  Such measured passes.
--   of          BIGINT  Measured passes with a shape.
SELECT p.phase, NULL::BIGINT AS at_stake_ns, count(*) FILTER (s.is_unread) AS pass_count, count(*) AS of
FROM attribute.occurrences AS p
JOIN input.occurrence_shapes AS o USING (occurrence_id)
JOIN input.shapes AS s USING (shape_id)
WHERE p.is_measured
GROUP BY p.phase
HAVING pass_count > 0
