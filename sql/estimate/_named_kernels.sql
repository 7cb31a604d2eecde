-- Which operator of the model each matrix or attention kernel of a marked layer computes.
-- Algorithm: kernels of a block keep the model's order. In an attention block, the GEMMs before the attention kernel
-- make queries, keys and values, the one after it is the output projection; without an attention kernel (eager), the two
-- products before the last GEMM are the attention. In a dense MLP the last GEMM is `down`. In a block of experts the last
-- grouped GEMM is `experts_down`, those before it `experts_gate_up`, the last product before them the `router`, and every
-- other one is of the experts that all tokens share. The only GEMM after the last block is `lm_head`; where there are more,
-- parts of the model are not marked, and they are `other`. A split-K reduction belongs to the GEMM before it.
-- Grain: op_id.
-- empty without: attribute.layer_ranges
-- requires: estimate._matmul_kernels, input.operator_costs
-- columns:
--   op_id         BIGINT   Joins load.gpu_ops.
--   phase         VARCHAR  Name of the phase.
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   block_id      BIGINT   Range of its block, NULL outside layers.
--   is_helper     BOOLEAN  Whether it only prepares or adds up what another kernel multiplies.
--   time_ns       BIGINT   Duration. Unit: ns.
--   operator      VARCHAR  As in estimate.operator_times.
WITH model AS (
    SELECT
        coalesce(bool_or(name LIKE 'expert%' OR name LIKE 'shared%' OR name = 'router'), false) AS has_experts,
        coalesce(bool_or(name LIKE 'shared%'), false) AS has_shared,
        -- A projection around the experts is one more product beside the router: their order says nothing.
        coalesce(bool_or(name LIKE 'experts_latent%'), false) AS has_latent
    FROM input.operator_costs
),
ranked AS (
    SELECT
        *,
        count(CASE WHEN family <> 'attention' AND NOT is_tail AND NOT is_setup THEN 1 END) OVER block AS gemms,
        count(CASE WHEN family = 'attention' THEN 1 END) OVER block AS attentions,
        min(CASE WHEN family = 'attention' THEN sequence END) OVER block AS first_attention,
        sum(CASE WHEN family <> 'attention' AND NOT is_tail AND NOT is_setup THEN 1 ELSE 0 END) OVER until AS gemm_index,
        count(CASE WHEN is_grouped THEN 1 END) OVER block AS grouped,
        count(CASE WHEN is_grouped THEN 1 END) OVER until AS grouped_until,
        -- The last product before the first grouped one.
        max(CASE WHEN NOT is_grouped AND NOT is_tail AND NOT is_setup AND NOT follows_grouped THEN sequence END) OVER block
            AS router_sequence,
        bool_or(is_grouped) OVER (PARTITION BY occurrence_id) AS has_grouped
    FROM (
        SELECT
            *,
            coalesce(sequence > min(CASE WHEN is_grouped THEN sequence END) OVER (PARTITION BY occurrence_id, block_id), false)
                AS follows_grouped
        FROM estimate._matmul_kernels
    )
    WINDOW
        block AS (PARTITION BY occurrence_id, block_id),
        until AS (PARTITION BY occurrence_id, block_id ORDER BY sequence ROWS UNBOUNDED PRECEDING)
),
last_block AS (
    SELECT occurrence_id, max(sequence) AS last_sequence
    FROM estimate._matmul_kernels
    WHERE part IS NOT NULL
    GROUP BY occurrence_id
),
after_blocks AS (
    SELECT k.occurrence_id, count(*) AS gemms
    FROM estimate._matmul_kernels AS k JOIN last_block AS l USING (occurrence_id)
    WHERE k.sequence > l.last_sequence AND k.part IS NULL AND k.family <> 'attention' AND NOT k.is_tail
    GROUP BY k.occurrence_id
)
SELECT
    r.op_id, r.phase, r.occurrence_id, r.block_id, r.is_tail OR r.is_setup OR r.is_helper AS is_helper, r.time_ns,
    CASE
        WHEN r.part IS NULL
            THEN CASE
                WHEN r.sequence > l.last_sequence AND a.gemms = 1 AND r.family <> 'attention' THEN 'lm_head'
                ELSE 'other'
            END
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
        WHEN m.has_experts AND (m.has_latent OR NOT r.has_grouped) THEN 'mlp'
        WHEN r.grouped > 0 AND (r.is_grouped OR r.is_setup)
            THEN CASE
                WHEN r.grouped_until + CASE WHEN r.is_setup THEN 1 ELSE 0 END >= r.grouped THEN 'experts_down'
                ELSE 'experts_gate_up'
            END
        WHEN r.grouped > 0 AND NOT r.follows_grouped AND r.sequence >= r.router_sequence THEN 'router'
        WHEN r.grouped > 0 AND m.has_shared THEN 'shared_experts'
        WHEN r.grouped > 0 THEN 'other'
        WHEN r.gemms >= 2 THEN CASE WHEN r.gemm_index = r.gemms THEN 'down' ELSE 'gate_up' END
        ELSE 'other'
    END AS operator
FROM ranked AS r LEFT JOIN last_block AS l USING (occurrence_id) LEFT JOIN after_blocks AS a USING (occurrence_id)
CROSS JOIN model AS m
