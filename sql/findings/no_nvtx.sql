-- A trace without NVTX ranges, and without phases.
-- Grain: one row, none if there are ranges or phases.
-- severity: info
-- message: there are no NVTX ranges, so all work is in no phase{not_inferred}
-- hint: mark phases with `nsys_pipeline.markers.phase`, or record with `llmperf capture`
-- concerns: attribute.phase_ranges
-- requires: load.nvtx_ranges, attribute.phase_ranges, attribute.inference, attribute.work_totals
-- columns:
--   phase        VARCHAR NULL: there is none.
--   at_stake_ns  BIGINT  Sum of the durations of all kernels. Unit: ns.
--   not_inferred VARCHAR Why none was inferred, after a semicolon; '' if nobody wanted to know.
SELECT
    NULL::VARCHAR AS phase, kernel_time_ns AS at_stake_ns,
    coalesce((SELECT '; none is inferred: ' || reason FROM attribute.inference), '') AS not_inferred
FROM attribute.work_totals
WHERE (SELECT count(*) FROM load.nvtx_ranges) = 0 AND (SELECT count(*) FROM attribute.phase_ranges) = 0
