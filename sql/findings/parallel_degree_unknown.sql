-- Ranks that communicate inside their passes without anybody saying how many of them share a pass.
-- Grain: phase.
-- severity: error
-- message: {rank_count:,} ranks communicate inside {phase}, and nobody says whether they share one model: its FLOPs, MFU and MBU
--   are left out
-- hint: pass --tp with the number of GPUs that share each pass, --tp 1 if each runs a whole model
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: estimate.phase_costs
-- requires: estimate.doubtful_passes, estimate.phase_costs
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Its GPU busy time, added up over ranks. Unit: ns.
--   rank_count  BIGINT  Pairs of a process and a GPU that it used.
SELECT d.phase, d.gpu_busy_ns AS at_stake_ns, d.rank_count
FROM estimate.doubtful_passes AS d
-- Without shapes there would be no FLOPs either way.
SEMI JOIN estimate.phase_costs AS c ON c.phase = d.phase
WHERE d.shared = 'pass'
