-- Kernels that tell what a pass through a model is, by their names.
-- Grain: name_id, full_name_id; kernels that tell nothing are absent.
-- materialize: table
-- requires: attribute.kernel_families, load.strings, macros.function_name
-- columns:
--   name_id      BIGINT   Short name. Joins load.gpu_ops.
--   full_name_id BIGINT   Demangled name. Joins load.gpu_ops.
--   role         VARCHAR  'attention', 'recurrence', 'softmax', 'gemm', 'activation', 'lookup' (rows of an embedding), 'sample',
--                         'loss', 'backward', 'optimizer', 'communication', 'cache' (pages of a KV cache) or 'store' (of a
--                         kernel that may add to a cache without pages).
--   tile_rows    BIGINT   Of a product: the smaller side of the tile in its name, 1 of a matrix by a vector, 1024 if the name
--                         has none. The rows of a product of a few rows fill one tile. Else NULL.
--   is_few       BOOLEAN  Whether its name says that it is made for one query of each sequence, or for a lookup of 16 rows.
WITH named AS (
    SELECT
        k.name_id, k.full_name_id, coalesce(long.value, short.value, '') AS full_name, k.family,
        regexp_extract(macros.function_name(coalesce(long.value, short.value, '')), '([^:]*)$', 1) AS own
    FROM attribute.kernel_families AS k
    LEFT JOIN load.strings AS short ON short.string_id = k.name_id
    LEFT JOIN load.strings AS long ON long.string_id = k.full_name_id
),
told AS (
    SELECT
        name_id, full_name_id,
        CASE
            WHEN regexp_matches(own, '(?i)kv_indices|num_kv_splits|block_table|slot_mapping|reshape_and_cache|store_kv_?cache|paged')
                AND NOT regexp_matches(own, '(?i)attention|attn|decode|prefill|mha') THEN 'cache'
            WHEN family = 'optimizer' THEN 'optimizer'
            WHEN family IN ('attention', 'recurrence', 'softmax and loss', 'embedding', 'norm')
                AND regexp_matches(own, '(?i)backward|bwd|bprop|_grad|dot_do_o|convert_dq') THEN 'backward'
            WHEN family IN ('attention', 'recurrence') THEN CASE
                WHEN NOT regexp_matches(own, '(?i)combine|reduc|merge|stage2|prepare|_kernel_stage_?2') THEN family
            END
            WHEN family = 'softmax and loss' THEN CASE
                WHEN regexp_matches(full_name, '(?i)nll_loss|cross_?entropy|log_?softmax|_loss') THEN 'loss'
                WHEN regexp_matches(own, '(?i)softmax') THEN 'softmax'
            END
            WHEN family = 'sampling' THEN CASE
                WHEN regexp_matches(full_name, 'ArgMaxOps') THEN 'sample'
                WHEN regexp_matches(own, '(?i)arg_?max|gumbel|sampling|_sample_|sample_?kernel|multinomial')
                    AND NOT regexp_matches(own, '(?i)num_sampled|sampled_and|distribution_') THEN 'sample'
            END
            WHEN regexp_matches(own, '(?i)indexSelect|vectorized_gather|embedding|lookup') AND NOT regexp_matches(own, '(?i)rotary|rope')
                THEN 'lookup'
            WHEN family IN ('gemm', 'gemv') AND NOT regexp_matches(own, '(?i)reduce') THEN 'gemm'
            WHEN family IN ('activation', 'communication') THEN family
            WHEN regexp_matches(full_name, '(?i)CatArray|_cat_|index_put|index_copy|index_elementwise|scatter|append|set_rows|cache')
                THEN 'store'
        END AS role,
        CASE
            WHEN family = 'gemv' THEN 1
            WHEN family = 'gemm' THEN coalesce(
                least(
                    TRY_CAST(regexp_extract(own, '_(\d+)x(\d+)_', 1) AS BIGINT), TRY_CAST(regexp_extract(own, '_(\d+)x(\d+)_', 2) AS BIGINT)
                ),
                1024
            )
        END AS tile_rows,
        CASE
            WHEN family = 'attention' THEN regexp_matches(own, '(?i)decod|mmha|masked_multihead|paged_attention|stage_?1')
            ELSE regexp_matches(own, 'indexSelectSmallIndex')
        END AS is_few
    FROM named
)
SELECT name_id, full_name_id, role, tile_rows::BIGINT AS tile_rows, coalesce(is_few, false) AS is_few FROM told WHERE role IS NOT NULL
