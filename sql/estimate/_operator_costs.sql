-- What the estimate says of the operators that kernels can be told apart by, over all layers.
-- Layers with products of another kind beside their attention (gates, indexers) have no 'qkv', 'attention' and 'o': which of their
-- kernels is which, the order does not say.
-- Grain: shape_id, operator.
-- requires: input.shape_ops, macros.model_operator, macros.whole_sum
-- columns:
--   shape_id BIGINT   Joins input.shapes.
--   operator VARCHAR  As in estimate.operator_times.
--   layers   BIGINT   Layers that have it.
--   flops    HUGEINT  Model FLOPs. Unit: FLOP.
--   bytes    HUGEINT  Minimum bytes: weights + KV read + KV written. Unit: bytes.
--   sol_ns   DOUBLE   Speed of light; NULL if it is not known of one. Unit: ns.
--   is_even  BOOLEAN  Whether each of the layers has the same FLOPs and bytes of it.
WITH operator_cost AS (
    SELECT
        shape_id, layer, macros.model_operator(name) AS operator, layers, flops, bytes, sol_ns
    FROM input.shape_ops
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
        macros.whole_sum(layers * sol_ns) AS sol_ns
    FROM either
    WHERE operator IS NOT NULL
    GROUP BY shape_id, operator, layer
)
SELECT
    shape_id, operator, sum(layers)::BIGINT AS layers, sum(flops)::HUGEINT AS flops, sum(bytes)::HUGEINT AS bytes,
    macros.whole_sum(sol_ns) AS sol_ns,
    min(flops / layers) = max(flops / layers) AND min(bytes / layers) = max(bytes / layers) AS is_even
FROM by_layer
WHERE operator NOT IN ('qkv', 'attention', 'o') OR shape_id NOT IN (FROM crowded)
GROUP BY shape_id, operator
