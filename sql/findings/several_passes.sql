-- Ranges of decode that each run several passes of the model, and so make several tokens.
-- Grain: phase.
-- severity: error
-- message: a range of {phase} runs the layers {passes} times, by {proof}: it makes several tokens, and
--   counts as one step. There is no TPOT; tokens, FLOPs, bytes, MFU and MBU are those that its mark or --shape gives one step
-- hint: mark each step of the loop with a `decode` range of its own, and leave out the one around them with --not-phase
-- concerns: estimate.occurrence_costs, attribute.request_times
-- empty without: attribute.several_passes
-- requires: attribute.several_passes, attribute.phase_busy
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Its GPU busy time. Unit: ns.
--   passes      VARCHAR Passes in a range, on average, to three digits.
--   proof       VARCHAR What shows it.
SELECT f.phase, sum(b.gpu_busy_ns)::BIGINT AS at_stake_ns, format('{:.3g}', any_value(f.passes)) AS passes, any_value(f.proof) AS proof
FROM attribute.several_passes AS f JOIN attribute.phase_busy AS b USING (phase)
GROUP BY f.phase
