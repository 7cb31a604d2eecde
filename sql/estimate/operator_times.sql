-- What the kernels of each operator of marked layers take in each occurrence.
-- Grain: phase, occurrence_id, operator.
-- materialize: table
-- empty without: attribute.layer_ranges
-- requires: estimate._named_kernels
-- columns:
--   phase         VARCHAR  Name of the phase.
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   operator      VARCHAR  'qkv', 'attention', 'o', 'gate_up', 'down', 'router', 'experts_gate_up', 'experts_down',
--                          'shared_experts', 'mlp' (all of a block whose experts are not told apart), 'lm_head', or
--                          'other' for what fits none, as the rotary tables before the first.
--   layers        BIGINT   Blocks that have it, 0 outside layers.
--   kernel_count  BIGINT   Kernels.
--   time_ns       BIGINT   Sum of their durations. Unit: ns.
SELECT
    phase, occurrence_id, operator, count(DISTINCT block_id) AS layers, count(*) AS kernel_count,
    sum(time_ns)::BIGINT AS time_ns
FROM estimate._named_kernels
GROUP BY phase, occurrence_id, operator
