-- A trace with NVTX ranges of which none is a phase.
-- Grain: one row, none if there are phases or no ranges.
-- severity: info
-- message: none of the {range_count:,} NVTX ranges is a phase that llmperf knows{not_inferred}
-- hint: see `llmperf analyze --list-ranges`, then say which with --phase NAME=REGEX
-- concerns: attribute.phase_ranges
-- requires: load.nvtx_ranges, attribute.phase_ranges, attribute.inference, attribute.work_totals
-- columns:
--   phase        VARCHAR NULL: there is none.
--   at_stake_ns  BIGINT  Sum of the durations of all kernels. Unit: ns.
--   range_count  BIGINT  NVTX ranges.
--   not_inferred VARCHAR Why none was inferred, after a semicolon; '' if nobody wanted to know.
SELECT
    NULL::VARCHAR AS phase, kernel_time_ns AS at_stake_ns, (SELECT count(*) FROM load.nvtx_ranges) AS range_count,
    coalesce((SELECT '; none is inferred: ' || reason FROM attribute.inference), '') AS not_inferred
FROM attribute.work_totals
WHERE (SELECT count(*) FROM load.nvtx_ranges) > 0 AND (SELECT count(*) FROM attribute.phase_ranges) = 0
