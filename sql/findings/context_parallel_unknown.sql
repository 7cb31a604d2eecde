-- Ranks that seem to share each sequence (context parallelism) without anybody saying how many of them do.
-- Grain: phase.
-- severity: error
-- message: ranks seem to share each sequence of {phase} (context parallelism), and nobody says how many do: its FLOPs, MFU and
--   MBU are left out
-- hint: pass --cp with the number of ranks that each sequence is split over, --pp if they are stages of a pipeline, --cp 1 if each
--   rank has sequences of its own
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: estimate.phase_costs
-- requires: estimate.doubtful_passes, estimate.phase_costs
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Its GPU busy time, added up over ranks. Unit: ns.
SELECT d.phase, d.gpu_busy_ns AS at_stake_ns
FROM estimate.doubtful_passes AS d
SEMI JOIN estimate.phase_costs AS c ON c.phase = d.phase
WHERE d.shared = 'sequence'
