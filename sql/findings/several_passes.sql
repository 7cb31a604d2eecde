-- Ranges of decode that each run several passes of the model, and so make several tokens.
-- Grain: phase.
-- severity: error
-- message: a range of {phase} runs the layers {passes} times, by {proof}: it makes several tokens, and
--   counts as one step. There is no TPOT; tokens, FLOPs, bytes, MFU and MBU are those that its mark or --shape gives one step
-- hint: mark each step of the loop with a `decode` range of its own, and leave out the one around them with --not-phase
-- concerns: estimate.occurrence_costs, attribute.request_times
-- empty without: attribute.several_passes
-- requires: attribute.several_passes, attribute.occurrences, attribute.busy_by_occurrence
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  GPU busy time of its measured ranges, added up over GPUs. Unit: ns.
--   passes      VARCHAR Passes in a range, on average, to three digits.
--   proof       VARCHAR What shows it.
SELECT f.phase, coalesce(sum(b.gpu_busy_ns), 0)::BIGINT AS at_stake_ns, format('{:.3g}', any_value(f.passes)) AS passes, any_value(f.proof) AS proof
FROM attribute.several_passes AS f
JOIN attribute.occurrences AS o ON o.phase = f.phase AND o.is_measured
LEFT JOIN attribute.busy_by_occurrence AS b USING (occurrence_id)
GROUP BY f.phase
