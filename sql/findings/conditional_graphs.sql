-- CUDA graphs with conditional nodes: a loop or a branch that the GPU itself decides. Profilers record its kernels once for a launch, or
-- not at all.
-- Grain: one row, none where no such node was made.
-- severity: warning
-- message: CUDA graphs with conditional nodes were made ({node_count:,}): profilers show the kernels of such a loop once for each launch,
--   however often it ran, so that kernels and GPU time may lack the rest
-- hint: time between a launch and the wait for it is what the graph took: `llmperf sql TRACE "from api_calls"`
-- concerns: load.gpu_ops
-- requires: load.api_calls, load.strings
-- columns:
--   phase       VARCHAR NULL: nothing says which launches ran them.
--   at_stake_ns BIGINT  NULL: that is what was not recorded. Unit: ns.
--   node_count  BIGINT  Conditions that were made.
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, count(*) AS node_count
FROM load.api_calls
WHERE name_id IN (SELECT string_id FROM load.strings WHERE regexp_matches(value, '^cu(da)?GraphConditionalHandleCreate'))
HAVING count(*) > 0
