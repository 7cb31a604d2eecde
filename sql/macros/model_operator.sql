-- The operator that kernels can be told apart by, of an operation of the model: several projections are one.
-- params: operation
-- returns: VARCHAR  'qkv', 'attention', 'o', 'gate_up', 'down', 'router', 'experts_gate_up', 'experts_down', 'shared_experts', 'mlp',
--                   'lm_head', or NULL.
SELECT CASE
    WHEN operation IN ('lm_head', 'attention', 'o', 'down', 'router') THEN operation
    WHEN operation IN ('gate_up', 'up') THEN 'gate_up'
    WHEN operation IN ('qkv', 'q', 'k', 'v', 'q_a', 'q_b', 'kv_a', 'kv_b') THEN 'qkv'
    WHEN operation IN ('experts_gate_up', 'experts_up') THEN 'experts_gate_up'
    WHEN operation = 'experts_down' THEN operation
    WHEN operation LIKE 'shared%' THEN 'shared_experts'
    WHEN operation LIKE 'experts%' THEN 'mlp'
END
