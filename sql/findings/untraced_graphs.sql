-- Launches of CUDA graphs of which the trace does not show what the GPU did.
-- Grain: one row, none without such launches.
-- severity: error
-- message: what the GPU did in {untraced_count:,} of {launch_count:,} CUDA graph launches is not in the trace: every GPU time
--   lacks it
-- hint: {told}recapture with `llmperf capture --cuda-graph node`, or `nsys profile --cuda-graph-trace=node`
-- concerns: load.gpu_ops
-- requires: attribute.graph_calls
-- columns:
--   phase          VARCHAR NULL: they may be of any phase.
--   at_stake_ns    BIGINT  NULL: their time is what is missing. Unit: ns.
--   untraced_count BIGINT  Launches without GPU work.
--   launch_count   BIGINT  All launches of graphs.
--   told           VARCHAR What nsys was told about graphs; '' if the trace does not say.
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, untraced_count, launch_count, told
FROM attribute.graph_calls
WHERE untraced_count > 0
