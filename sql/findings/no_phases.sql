-- A trace with NVTX ranges of which none is a phase.
-- Grain: one row, none if there are phases or no ranges.
-- severity: warning
-- message: none of the {range_count:,} NVTX ranges is a phase that llmperf knows
-- hint: see `llmperf analyze --list-ranges`, then say which with --phase NAME=REGEX
-- concerns: attribute.phase_ranges
-- requires: load.nvtx_ranges, attribute.phase_ranges, attribute.work_totals
-- columns:
--   phase       VARCHAR NULL: there is none.
--   at_stake_ns BIGINT  Sum of the durations of all kernels. Unit: ns.
--   range_count BIGINT  NVTX ranges.
SELECT NULL::VARCHAR AS phase, kernel_time_ns AS at_stake_ns, (SELECT count(*) FROM load.nvtx_ranges) AS range_count
FROM attribute.work_totals
WHERE (SELECT count(*) FROM load.nvtx_ranges) > 0 AND (SELECT count(*) FROM attribute.phase_ranges) = 0
