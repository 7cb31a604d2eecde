-- A trace without NVTX ranges.
-- Grain: one row, none if there are ranges.
-- severity: warning
-- message: the trace has no NVTX ranges, so nothing can be attributed to phases
-- hint: mark phases with `nsys_pipeline.markers.phase`, or record with `llmperf capture`
-- concerns: attribute.phase_ranges
-- requires: load.nvtx_ranges, attribute.work_totals
-- columns:
--   phase       VARCHAR NULL: there is none.
--   at_stake_ns BIGINT  Sum of the durations of all kernels. Unit: ns.
SELECT NULL::VARCHAR AS phase, kernel_time_ns AS at_stake_ns
FROM attribute.work_totals
WHERE (SELECT count(*) FROM load.nvtx_ranges) = 0
