-- How many attention kernels and matrix products one pass of each phase runs, on average; warm-up and cold ones left out.
-- Kernels that only split, combine or prepare the work of another one do not count.
-- Grain: phase; those with whole CUDA graphs, whose kernels are not in the trace, are absent.
-- requires: attribute.phase_kernels, attribute.phase_walls, attribute.phase_devices
-- columns:
--   phase             VARCHAR Its name.
--   attention_kernels DOUBLE  Attention kernels per occurrence.
--   product_kernels   DOUBLE  Kernels that multiply matrices, per occurrence.
WITH kernel AS (
    SELECT
        phase, "count",
        family = 'attention'
            AND NOT regexp_matches(name, '(?i)combine|merge|reduc|schedul|metadata|prepare|preprocess|convert|stage2')
            AS is_attention,
        family IN ('gemm', 'gemv')
            AND NOT regexp_matches(name, '(?i)split_?k_?reduce|execute_split_?k_kernel|prepare_grouped_gemm')
            AS is_product
    FROM attribute.phase_kernels
    WHERE family IN ('attention', 'gemm', 'gemv')
        AND phase NOT IN (SELECT phase FROM attribute.phase_devices GROUP BY phase HAVING sum(graph_launch_count) > 0)
)
SELECT
    k.phase,
    coalesce(sum(k."count") FILTER (WHERE k.is_attention), 0)
        / any_value(w.occurrences - w.warmup_occurrences - w.cold_occurrences) AS attention_kernels,
    coalesce(sum(k."count") FILTER (WHERE k.is_product), 0)
        / any_value(w.occurrences - w.warmup_occurrences - w.cold_occurrences) AS product_kernels
FROM kernel AS k JOIN attribute.phase_walls AS w USING (phase)
WHERE w.occurrences > w.warmup_occurrences + w.cold_occurrences
GROUP BY k.phase
