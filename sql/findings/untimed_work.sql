-- GPU operations without times: CUPTI could not take them.
-- Grain: one row, none where all have times.
-- severity: warning
-- message: {operation_count:,} GPU operations were recorded without their times, as from 0 to 0: they are counted, but GPU time
--   lacks them, and what the budget calls idle may be theirs
-- hint: record again, for a shorter time or with fewer GPUs
-- concerns: load.gpu_ops
-- requires: load.session
-- columns:
--   phase           VARCHAR NULL: nobody looked which phase they are of.
--   at_stake_ns     BIGINT  NULL: that is what was not recorded. Unit: ns.
--   operation_count BIGINT  Such operations.
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, untimed_count AS operation_count
FROM load.session
WHERE untimed_count > 0
