-- Phases that would have done more than their GPUs can: the model, the shapes, the number format or the peak is another one.
-- Grain: phase.
-- severity: error
-- message: {phase} would reach {highest_ratio:%} of what its GPUs can do at peak, which is impossible: its MFU and MBU are left out
-- hint: check --model, --shape, --dtype, --tp and --peak
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: estimate.phase_costs
-- requires: estimate.phase_costs
-- columns:
--   phase         VARCHAR The phase.
--   at_stake_ns   BIGINT  Its GPU busy time. Unit: ns.
--   highest_ratio DOUBLE  The highest of MFU and MBU as they come out.
SELECT phase, gpu_busy_ns AS at_stake_ns, highest_ratio
FROM estimate.phase_costs
WHERE highest_ratio > 1
