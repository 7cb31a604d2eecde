-- How many attention kernels, matrix products and activations one pass of each phase runs, on average; warm-up and cold ones left out.
-- Kernels that only split, combine or prepare the work of another one do not count, nor do those of linear attention.
-- Grain: phase; those with whole CUDA graphs, whose kernels are not in the trace, are absent.
-- materialize: table
-- empty without: attribute.phase_kernels WHERE family IN ('attention', 'gemm', 'gemv', 'activation')
-- requires: attribute.phase_kernels, attribute.phase_walls, attribute.phase_devices, macros.is_attention_helper, macros.is_split_k_tail
-- columns:
--   phase              VARCHAR Its name.
--   attention_kernels  DOUBLE  Attention kernels per occurrence.
--   product_kernels    DOUBLE  Kernels that multiply matrices, per occurrence.
--   activation_kernels DOUBLE  Kernels that apply an activation function, per occurrence.
WITH kernel AS (
    SELECT
        phase, "count",
        family = 'attention'
            AND NOT macros.is_attention_helper(name, full_name)
            AND NOT regexp_matches(name, '(?i)stage2|kv_indices|kv_splits')
            AND NOT regexp_matches(name, '(?i)delta_rule|^chunk_|wy_repr|^recompute_w_u_|^solve_tril')
            AS is_attention,
        family = 'activation' AS is_activation,
        family IN ('gemm', 'gemv')
            AND NOT macros.is_split_k_tail(name)
            AND NOT regexp_matches(name, '(?i)prepare_grouped_gemm')
            AS is_product
    FROM attribute.phase_kernels
    WHERE family IN ('attention', 'gemm', 'gemv', 'activation')
        AND phase NOT IN (SELECT phase FROM attribute.phase_devices GROUP BY phase HAVING sum(graph_launch_count) > 0)
),
pass AS (
    SELECT phase, occurrences - warmup_occurrences - cold_occurrences AS occurrence_count
    FROM attribute.phase_walls
    WHERE occurrences > warmup_occurrences + cold_occurrences
)
SELECT
    k.phase,
    coalesce(sum(k."count") FILTER (WHERE k.is_attention), 0) / any_value(p.occurrence_count) AS attention_kernels,
    coalesce(sum(k."count") FILTER (WHERE k.is_product), 0) / any_value(p.occurrence_count) AS product_kernels,
    coalesce(sum(k."count") FILTER (WHERE k.is_activation), 0) / any_value(p.occurrence_count)
        AS activation_kernels
FROM kernel AS k JOIN pass AS p USING (phase)
GROUP BY k.phase
