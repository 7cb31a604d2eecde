-- Which operator of the model each matrix or attention kernel of a marked layer computes.
-- Algorithm: kernels of a block keep the model's order. In an attention block, the GEMMs before the attention kernel
-- make queries, keys and values, the one after it is the output projection; without an attention kernel (eager), the two
-- products before the last GEMM are the attention. In a dense MLP the last GEMM is `down`. After the last block comes
-- `lm_head`. A split-K reduction belongs to the GEMM before it.
-- Grain: phase, occurrence_id, operator.
-- materialize: table
-- requires: estimate._matmul_kernels, input.shape_ops
-- columns:
--   phase         VARCHAR  Name of the phase.
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   operator      VARCHAR  'qkv', 'attention', 'o', 'gate_up', 'down', 'mlp' (all of a block that is not a plain MLP),
--                          'lm_head', or 'other' for what fits none, as the rotary tables before the first.
--   layers        BIGINT   Blocks that have it, 0 outside layers.
--   kernel_count  BIGINT   Kernels.
--   time_ns       BIGINT   Sum of their durations. Unit: ns.
WITH is_dense AS (
    -- Experts and routers have products of their own: such a block is counted as a whole.
    SELECT coalesce(bool_and(name NOT LIKE 'expert%' AND name NOT LIKE 'shared%' AND name <> 'router'), true) AS is_dense
    FROM input.shape_ops
),
ranked AS (
    SELECT
        *,
        count(*) FILTER (WHERE family <> 'attention' AND NOT is_tail) OVER block AS gemms,
        count(*) FILTER (WHERE family = 'attention') OVER block AS attentions,
        min(sequence) FILTER (WHERE family = 'attention') OVER block AS first_attention,
        sum(CASE WHEN family <> 'attention' AND NOT is_tail THEN 1 ELSE 0 END) OVER (
            PARTITION BY occurrence_id, block_id ORDER BY sequence ROWS UNBOUNDED PRECEDING
        ) AS gemm_index
    FROM estimate._matmul_kernels
    WINDOW block AS (PARTITION BY occurrence_id, block_id)
),
last_block AS (
    SELECT occurrence_id, max(sequence) AS last_sequence
    FROM estimate._matmul_kernels
    WHERE part IS NOT NULL
    GROUP BY occurrence_id
),
named AS (
    SELECT
        r.phase, r.occurrence_id, r.block_id, r.time_ns,
        CASE
            WHEN r.part IS NULL THEN CASE WHEN r.sequence > l.last_sequence THEN 'lm_head' ELSE 'other' END
            WHEN r.family = 'attention' THEN 'attention'
            WHEN r.part = 'attn' AND r.attentions > 0
                THEN CASE WHEN r.sequence < r.first_attention THEN 'qkv' ELSE 'o' END
            WHEN r.part = 'attn' AND r.gemms >= 4
                THEN CASE
                    WHEN r.gemm_index <= r.gemms - 3 THEN 'qkv'
                    WHEN r.gemm_index < r.gemms THEN 'attention'
                    ELSE 'o'
                END
            WHEN r.part = 'attn' THEN 'other'
            WHEN NOT (SELECT is_dense FROM is_dense) THEN 'mlp'
            WHEN r.gemms >= 2 THEN CASE WHEN r.gemm_index = r.gemms THEN 'down' ELSE 'gate_up' END
            ELSE 'other'
        END AS operator
    FROM ranked AS r LEFT JOIN last_block AS l USING (occurrence_id)
)
SELECT
    phase, occurrence_id, operator, count(DISTINCT block_id) AS layers, count(*) AS kernel_count,
    sum(time_ns)::BIGINT AS time_ns
FROM named
GROUP BY phase, occurrence_id, operator
