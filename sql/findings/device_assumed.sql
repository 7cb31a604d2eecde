-- GPU operations that do not say which GPU ran them.
-- Grain: one row, none if all say it.
-- severity: warning
-- message: {operation_count:,} GPU operations do not say which GPU ran them: they count as GPU 0's
-- hint: export again with the nsys that recorded the trace
-- concerns: load.gpu_ops
-- requires: load.session
-- columns:
--   phase           VARCHAR NULL: they may be of any phase.
--   at_stake_ns     BIGINT  NULL: nobody adds their times up. Unit: ns.
--   operation_count BIGINT  Such operations.
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, deviceless_count AS operation_count
FROM load.session
WHERE deviceless_count > 0
