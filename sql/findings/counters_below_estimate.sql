-- Phases in which hardware counters saw less than the estimate needs: the estimate cannot be right.
-- Algorithm: beyond the error of sampling, a twentieth of the busy time, and a tenth (tensor pipe) or a quarter (DRAM, of which
-- the L2 cache spares some) of the estimate.
-- Grain: phase, counter.
-- severity: warning
-- message: in {phase} {what} {measured_ratio:%} of the busy time (error {error_ratio:%}), and the estimate needs at least {estimated_ratio:%}:
--   {cause}
-- hint: check --model, --dtype and --shape against what ran; `from phase_counters` has what was measured
-- concerns: estimate.phase_costs, estimate.occurrence_costs
-- empty without: load.counter_samples
-- requires: estimate.counter_checks
-- columns:
--   phase           VARCHAR The phase.
--   at_stake_ns     BIGINT  Its busy time. Unit: ns.
--   what            VARCHAR What was measured.
--   measured_ratio  DOUBLE  What it was.
--   error_ratio     DOUBLE  How far that may be off.
--   estimated_ratio DOUBLE  What the estimate needs.
--   cause           VARCHAR What it may be.
SELECT
    phase, busy_ns AS at_stake_ns,
    CASE counter WHEN 'tensor' THEN 'the tensor pipe was active' ELSE 'DRAM was read and written at peak rate for' END AS what,
    measured_ratio, error_ratio, estimated_ratio,
    CASE counter
        WHEN 'tensor' THEN 'the model or the shape is larger than what ran, or its products did not use the tensor cores'
        ELSE 'the model or the shape is larger than what ran, its weights have a smaller dtype, or they stayed in the L2 cache'
    END AS cause
FROM estimate.counter_checks
WHERE estimated_ratio - measured_ratio - error_ratio
    > greatest(0.05, estimated_ratio * CASE counter WHEN 'tensor' THEN 0.1 ELSE 0.25 END)
