-- GEMM-like and attention kernels of phases in which layers are marked, with the block that launched each.
-- Grain: op_id; kernels outside every block have layer and part NULL.
-- empty without: attribute.layer_ranges
-- requires: attribute.gpu_work, attribute.occurrences, attribute.layer_ranges, attribute._layer_spans, macros.innermost_segments, attribute.kernel_families, load.strings, macros.is_attention_helper, macros.is_split_k_tail
-- columns:
--   op_id         BIGINT   Joins load.gpu_ops.
--   phase         VARCHAR  Name of the phase.
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   block_id      BIGINT   Range of the block. Joins attribute.layer_ranges on range_id.
--   layer         BIGINT   Number of the layer.
--   part          VARCHAR  'attn' or 'mlp'.
--   family        VARCHAR  'gemm', 'gemv' or 'attention'.
--   is_tail       BOOLEAN  Whether it only adds up what the GEMM before it left in pieces (split-K).
--   is_grouped    BOOLEAN  Whether it multiplies many matrices of different heights at once, as experts need.
--   is_setup      BOOLEAN  Whether it only writes the pointers and shapes that the grouped GEMM after it reads.
--   is_helper     BOOLEAN  Whether it only prepares or combines what the attention kernel of its block attends to.
--   sequence      BIGINT   Order of launch within the occurrence.
--   time_ns       BIGINT   Duration. Unit: ns.
WITH kernel AS (
    SELECT
        w.op_id, p.phase, w.occurrence_id, w.global_tid, w.launch_start_ns, w.end_ns - w.start_ns AS time_ns, f.family,
        macros.is_split_k_tail(short.value) AS is_tail,
        regexp_matches(full_name.value, '(?i)group_?problem_?shape|grouped_?(gemm|mm)|group_gemm|fused_moe|moe_?gemm')
            AS is_grouped,
        starts_with(short.value, 'prepare_grouped_gemm') AS is_setup,
        f.family = 'attention' AND macros.is_attention_helper(short.value, full_name.value) AS is_helper
    FROM attribute.gpu_work AS w
    JOIN attribute.occurrences AS p USING (occurrence_id)
    JOIN attribute.kernel_families AS f ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id
    LEFT JOIN load.strings AS short ON short.string_id = w.name_id
    LEFT JOIN load.strings AS full_name ON full_name.string_id = w.full_name_id
    WHERE w.kind = 'kernel' AND f.family IN ('gemm', 'gemv', 'attention') AND p.is_measured
        AND (SELECT count(*) FROM attribute.layer_ranges) > 0
),
placed AS (
    SELECT k.*, s.span_id AS block_id
    FROM kernel AS k
    ASOF LEFT JOIN macros.innermost_segments('attribute._layer_spans') AS s
        ON s.lane = k.global_tid AND s.start_ns <= k.launch_start_ns
)
SELECT
    k.op_id, k.phase, k.occurrence_id, k.block_id, b.layer, b.part, k.family, coalesce(k.is_tail, false) AS is_tail,
    coalesce(k.is_grouped AND NOT k.is_setup, false) AS is_grouped, coalesce(k.is_setup, false) AS is_setup, k.is_helper,
    row_number() OVER (PARTITION BY k.occurrence_id ORDER BY k.launch_start_ns, k.op_id) AS sequence, k.time_ns
FROM placed AS k LEFT JOIN attribute.layer_ranges AS b ON b.range_id = k.block_id
