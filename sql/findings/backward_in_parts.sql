-- Backwards of which several belong to one forward: none of them has FLOPs that anybody knows.
-- Grain: phase.
-- severity: warning
-- message: there are more ranges of {phase} than of forward: several share one pass, as when the gradients of inputs and of weights are
--   computed apart, and nothing says which has how much: its FLOPs and MFU, and those of the training steps, are left out
-- hint: mark each backward as a whole, or leave the passes out with --not-phase and mark whole steps (`--phase step=REGEX`)
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: estimate.phase_costs
-- requires: estimate.doubtful_passes, estimate.phase_costs
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Its GPU busy time, added up over ranks. Unit: ns.
SELECT d.phase, d.gpu_busy_ns AS at_stake_ns
FROM estimate.doubtful_passes AS d
SEMI JOIN estimate.phase_costs AS c ON c.phase = d.phase
WHERE d.shared = 'gradient'
