-- Operators of marked layers: what their kernels reach of the hardware's limits.
-- Only occurrences outside warm-up whose shape is known, and operators that are measured in as many layers as the model
-- has. Layers with products of another kind beside their attention (gates, indexers) have no 'qkv', 'attention' and 'o':
-- which of their kernels is which, the order does not say. Norms, rotary positions, activations and sampling are no operators here, so that
-- these times do not add up to the phase's: the rest of its kernel time is theirs. Times are sums of kernel durations; FLOPs and bytes are those of the model's operator (see the view ops).
-- Grain: phase, shape, operator. Empty where no layer is marked: `llmperf capture --layers`.
-- materialize: table
-- empty without: estimate.operator_times
-- requires: estimate.operator_times, input.operator_costs, input.occurrence_shapes, input.shapes
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
WITH operator_cost AS (
    SELECT
        shape_id, layer,
        CASE
            WHEN name IN ('lm_head', 'attention', 'o', 'down', 'router') THEN name
            WHEN name IN ('gate_up', 'up') THEN 'gate_up'
            WHEN name IN ('qkv', 'q', 'k', 'v', 'q_a', 'q_b', 'kv_a', 'kv_b') THEN 'qkv'
            WHEN name IN ('experts_gate_up', 'experts_up') THEN 'experts_gate_up'
            WHEN name = 'experts_down' THEN name
            WHEN name LIKE 'shared%' THEN 'shared_experts'
            WHEN name LIKE 'experts%' THEN 'mlp'
        END AS operator,
        layers, flops, bytes, sol_ns
    FROM input.operator_costs
    WHERE kind IN ('gemm', 'grouped_gemm', 'attention')
),
crowded AS (
    SELECT DISTINCT shape_id
    FROM operator_cost AS c
    JOIN operator_cost AS other USING (shape_id, layer)
    WHERE c.operator = 'o' AND other.operator IS NULL
),
has_experts AS (
    SELECT shape_id FROM operator_cost WHERE starts_with(operator, 'experts') OR operator = 'mlp' GROUP BY shape_id
),
-- Blocks whose experts are not told apart count as a whole, dense ones beside them too.
either AS (
    FROM operator_cost
    UNION ALL
    SELECT c.* REPLACE ('mlp' AS operator)
    FROM operator_cost AS c JOIN has_experts USING (shape_id)
    WHERE c.operator IN ('router', 'experts_gate_up', 'experts_down', 'shared_experts', 'gate_up', 'down')
),
by_layer AS (
    SELECT
        shape_id, operator, layer, max(layers) AS layers, sum(layers * flops::HUGEINT) AS flops,
        sum(layers * bytes::HUGEINT) AS bytes,
        CASE WHEN count(sol_ns) = count(*) THEN sum(layers * sol_ns) END AS sol_ns
    FROM either
    WHERE operator IS NOT NULL
    GROUP BY shape_id, operator, layer
),
cost AS (
    SELECT
        shape_id, operator, sum(layers) AS layers, sum(flops) AS flops, sum(bytes) AS bytes,
        CASE WHEN count(sol_ns) = count(*) THEN sum(sol_ns) END AS sol_ns
    FROM by_layer
    GROUP BY shape_id, operator
)
SELECT
    t.phase, s.kind AS shape, t.operator, count(*) AS occurrences, sum(t.kernel_count)::BIGINT AS kernel_count,
    sum(t.time_ns)::BIGINT AS time_ns, sum(c.flops) AS flops, sum(c.bytes) AS bytes,
    sum(c.flops) / nullif(sum(t.time_ns), 0) * 1e9 AS flops_per_s,
    sum(c.bytes) / nullif(sum(t.time_ns), 0) * 1e9 AS bytes_per_s,
    sum(c.flops) / nullif(sum(c.bytes), 0) AS flops_per_byte,
    CASE WHEN count(c.sol_ns) = count(*) THEN sum(c.sol_ns) END AS sol_ns,
    CASE WHEN count(c.sol_ns) = count(*) THEN sum(c.sol_ns) / nullif(sum(t.time_ns), 0) END AS roofline_ratio
FROM estimate.operator_times AS t
JOIN input.occurrence_shapes AS o USING (occurrence_id)
JOIN input.shapes AS s USING (shape_id)
JOIN cost AS c ON c.shape_id = o.shape_id AND c.operator = t.operator AND t.layers IN (0, c.layers)
WHERE t.operator NOT IN ('qkv', 'attention', 'o') OR o.shape_id NOT IN (FROM crowded)
GROUP BY t.phase, s.kind, t.operator
