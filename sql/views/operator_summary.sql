-- Operators of marked layers: what their kernels reach of the hardware's limits.
-- Only occurrences outside warm-up whose shape is known, and operators that are measured in as many layers as the model
-- has. Layers with products of another kind beside their attention (gates, indexers) have no 'qkv', 'attention' and 'o':
-- which of their kernels is which, the order does not say. Norms, rotary positions, activations and sampling are no operators here, so that
-- these times do not add up to the phase's: the rest of its kernel time is theirs. Times are sums of kernel durations; FLOPs and bytes are those of the model's operator (see the view ops).
-- Grain: phase, shape, operator. Empty where no layer is marked: `llmperf capture --layers`.
-- materialize: table
-- empty without: estimate.operator_times
-- requires: estimate.operator_times, estimate._operator_costs, input.occurrence_shapes, input.shapes, macros.whole_sum
-- columns:
--   phase             VARCHAR  Name of the phase.
--   shape             VARCHAR  batch x new tokens of each sequence.
--   operator          VARCHAR  'qkv', 'attention', 'o', 'gate_up', 'down', 'router', 'experts_gate_up', 'experts_down',
--                              'shared_experts', 'mlp' (a whole block with experts), 'lm_head'.
--   occurrences       BIGINT   Passes.
--   kernel_count      BIGINT   Kernels.
--   time_ns           BIGINT   Sum of their durations. Unit: ns.
--   flops             HUGEINT  Model FLOPs. Unit: FLOP.
--   bytes             HUGEINT  Minimum bytes: weights + KV read + KV written. Unit: bytes.
--   flops_per_s       DOUBLE   flops / time. Unit: FLOP/s.
--   bytes_per_s       DOUBLE   bytes / time. Unit: bytes/s.
--   flops_per_byte    DOUBLE   Arithmetic intensity: flops / bytes. Unit: FLOP/byte.
--   sol_ns            DOUBLE   Speed of light of the operator. Unit: ns.
--   roofline_ratio    DOUBLE   sol_ns / time_ns: share of what the hardware could do.
SELECT
    t.phase, s.kind AS shape, t.operator, count(*) AS occurrences, sum(t.kernel_count)::BIGINT AS kernel_count,
    sum(t.time_ns)::BIGINT AS time_ns, sum(c.flops) AS flops, sum(c.bytes) AS bytes,
    sum(c.flops) / nullif(sum(t.time_ns), 0) * 1e9 AS flops_per_s,
    sum(c.bytes) / nullif(sum(t.time_ns), 0) * 1e9 AS bytes_per_s,
    sum(c.flops) / nullif(sum(c.bytes), 0) AS flops_per_byte,
    macros.whole_sum(c.sol_ns) AS sol_ns,
    macros.whole_sum(c.sol_ns) / nullif(sum(t.time_ns), 0) AS roofline_ratio
FROM estimate.operator_times AS t
JOIN input.occurrence_shapes AS o USING (occurrence_id)
JOIN input.shapes AS s USING (shape_id)
JOIN estimate._operator_costs AS c ON c.shape_id = o.shape_id AND c.operator = t.operator AND t.layers IN (0, c.layers)
GROUP BY t.phase, s.kind, t.operator
