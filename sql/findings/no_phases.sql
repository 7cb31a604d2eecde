-- A trace with NVTX ranges of which none is a phase.
-- Grain: one row, none if there are phases or no ranges.
-- severity: info
-- message: {ground}{not_inferred}
-- hint: {advice}
-- concerns: attribute.phase_ranges
-- requires: load.nvtx_ranges, attribute.phase_ranges, attribute._phase_candidates, attribute.inference, attribute.work_totals
-- columns:
--   phase        VARCHAR NULL: there is none.
--   at_stake_ns  BIGINT  Sum of the durations of all kernels. Unit: ns.
--   ground       VARCHAR Why no range is a phase.
--   not_inferred VARCHAR Why none was inferred, after a semicolon; '' if nobody wanted to know.
--   advice       VARCHAR What to do about it.
SELECT
    NULL::VARCHAR AS phase, kernel_time_ns AS at_stake_ns,
    CASE
        WHEN told.is_forced AND told.phase_count > 0
            THEN '--infer heeds none of the ranges that are phases'
        ELSE format('none of the {:,} NVTX ranges is a phase that llmperf knows', told.range_count)
    END AS ground,
    coalesce((SELECT '; none is inferred: ' || reason FROM attribute.inference), '') AS not_inferred,
    CASE
        WHEN told.is_forced AND told.phase_count > 0 THEN 'without --infer the ranges say what the phases are'
        WHEN told.is_forced
            THEN 'see `llmperf analyze --list-ranges`, then say which with --phase NAME=REGEX instead of --infer'
        ELSE 'see `llmperf analyze --list-ranges`, then say which with --phase NAME=REGEX'
    END AS advice
FROM attribute.work_totals
CROSS JOIN (
    SELECT
        (SELECT is_forced FROM attribute.inference) AS is_forced,
        (SELECT count(*) FROM load.nvtx_ranges) AS range_count,
        (SELECT count(*) FROM attribute._phase_candidates) AS phase_count
) AS told
WHERE told.range_count > 0 AND (SELECT count(*) FROM attribute.phase_ranges) = 0
