-- Steps of a batch that go on for sequences which may have ended, of requests behind which no mark says how many tokens each wrote.
-- Grain: phase.
-- severity: warning
-- message: {pass_count:,} of {of:,} passes of {phase} run for a batch in `generate` of which some sequences may have ended, and nothing
--   says which: what is computed behind their ends counts in tokens, FLOPs, MFU and MBU
-- hint: record whole requests; those that search beams have no such mark: with `min_new_tokens` as high as `max_new_tokens` no sequence ends
--   early
-- concerns: estimate.occurrence_costs, views.phases, views.phase_summary
-- empty without: input.shapes WHERE may_have_ended
-- requires: input.occurrence_shapes, input.shapes, attribute.occurrences
-- columns:
--   phase       VARCHAR Its phase.
--   at_stake_ns BIGINT  NULL: no time is at stake. Unit: ns.
--   pass_count  BIGINT  Such measured passes.
--   of          BIGINT  Measured passes with a shape.
SELECT p.phase, NULL::BIGINT AS at_stake_ns, count(*) FILTER (s.may_have_ended) AS pass_count, count(*) AS of
FROM attribute.occurrences AS p
JOIN input.occurrence_shapes AS o USING (occurrence_id)
JOIN input.shapes AS s USING (shape_id)
WHERE p.is_measured
GROUP BY p.phase
HAVING pass_count > 0
