-- CUDA graphs that were recorded as a whole.
-- Grain: one row, none without such graphs.
-- severity: warning
-- message: {graph_count:,} CUDA graph launches were recorded as a whole: their kernels are not in the trace, and their time
--   includes the gaps between kernels
-- hint: {told}recapture with `llmperf capture --cuda-graph node`, or `nsys profile --cuda-graph-trace=node`
-- concerns: load.gpu_ops
-- empty without: attribute.work_totals WHERE graph_launch_count > 0
-- requires: attribute.work_totals, attribute.graph_calls
-- columns:
--   phase       VARCHAR NULL: they may be of any phase.
--   at_stake_ns BIGINT  Sum of their durations. Unit: ns.
--   graph_count BIGINT  Launches that were recorded as a whole.
--   told        VARCHAR What nsys was told about graphs; '' if the trace does not say.
SELECT
    NULL::VARCHAR AS phase, t.graph_time_ns AS at_stake_ns, t.graph_launch_count AS graph_count, c.told
FROM attribute.work_totals AS t CROSS JOIN attribute.graph_calls AS c
WHERE t.graph_launch_count > 0
