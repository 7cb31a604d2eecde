-- Matrix products of a backward beside those of its forward, as the kernels show them and as the FLOPs are counted.
-- Gradients of inputs and of weights take two products for each one of the forward, and so twice its time. What checkpointing runs again
-- comes on top; its share is that of the attention kernels of the forward that run in the backward, too.
-- Gradients of the LM head that the forward computes count as the backward's.
-- Grain: one row, none where not both have products.
-- materialize: table
-- empty without: attribute.training_passes
-- requires: attribute.training_passes, attribute.fused_heads, attribute.kernel_totals, attribute.kernel_families, load.strings, estimate.phase_costs, macros.is_split_k_tail
-- columns:
--   gpu_busy_ns      BIGINT  GPU busy time of the measured backwards. Unit: ns.
--   forward_products DOUBLE  Products in a pass of the forward.
--   products         DOUBLE  Products in a pass of the backward, without what is run again.
--   outside_products DOUBLE  Products in no phase, for each backward.
--   count_ratio      DOUBLE  products / forward_products.
--   time_ratio       DOUBLE  The same of their time on the GPU.
--   flops_ratio      DOUBLE  FLOPs of a backward / those of a forward, as they are counted; NULL where either is not known.
--   is_part_outside  BOOLEAN Whether it is about as many products as the forward's, and most of another such part are in no phase.
--   is_share_known   BOOLEAN Whether kernels tell what checkpointing runs again.
WITH kernel AS (
    SELECT f.name_id, f.full_name_id, f.family = 'attention' AS is_attention
    FROM attribute.kernel_families AS f LEFT JOIN load.strings AS s ON s.string_id = f.name_id
    WHERE f.family IN ('gemm', 'gemv', 'attention')
        AND NOT coalesce(macros.is_split_k_tail(s.value) OR regexp_matches(s.value, '(?i)prepare_grouped_gemm'), false)
),
-- `step` and the like have what lies in none of their parts.
part AS (
    SELECT
        t.name_id, t.full_name_id, k.is_attention,
        CASE WHEN t.phase IN ('forward', 'backward') THEN t.phase ELSE 'outside' END AS part, t."count", t.time_ns
    FROM attribute.kernel_totals AS t
    JOIN kernel AS k ON k.name_id = t.name_id AND k.full_name_id IS NOT DISTINCT FROM t.full_name_id
    WHERE t.phase IS NULL OR t.phase IN ('forward', 'backward', 'step', 'forward_backward')
),
pass AS (
    SELECT
        count(*) FILTER (WHERE together_id = occurrence_id) AS forwards, count(*) FILTER (WHERE part = 'backward') AS backwards
    FROM attribute.training_passes
),
head AS (
    SELECT coalesce(sum(products), 0) AS products, coalesce(sum(products_ns), 0) AS products_ns FROM attribute.fused_heads
),
product AS (
    SELECT
        sum("count") FILTER (WHERE part = 'forward') / any_value(p.forwards) - any_value(h.products) AS forward_products,
        sum("count") FILTER (WHERE part = 'backward') / any_value(p.backwards) + any_value(h.products) AS products,
        coalesce(sum("count") FILTER (WHERE part = 'outside'), 0) / any_value(p.backwards) AS outside_products,
        sum(time_ns) FILTER (WHERE part = 'forward') / any_value(p.forwards) - any_value(h.products_ns) AS forward_ns,
        sum(time_ns) FILTER (WHERE part = 'backward') / any_value(p.backwards) + any_value(h.products_ns) AS products_ns
    FROM part CROSS JOIN pass AS p CROSS JOIN head AS h
    WHERE NOT is_attention
),
again AS (
    SELECT
        coalesce(sum(least(forward_count, backward_count)) FILTER (is_attention) / nullif(sum(forward_count) FILTER (is_attention), 0), 0) AS attention,
        coalesce(sum(least(forward_count, backward_count)) FILTER (NOT is_attention) / nullif(sum(forward_count) FILTER (NOT is_attention), 0), 0) AS products,
        -- Products of the backward proper may have the names of the forward's, as in FP8: then they say nothing.
        coalesce(sum(backward_count) FILTER (NOT is_attention) <= sum(forward_count) FILTER (NOT is_attention), true) AS is_named,
        CASE WHEN is_named THEN least(attention, products) ELSE attention END AS share
    FROM (
        SELECT
            is_attention, sum("count") FILTER (WHERE part = 'forward') AS forward_count,
            coalesce(sum("count") FILTER (WHERE part = 'backward'), 0) AS backward_count
        FROM part
        GROUP BY is_attention, name_id, full_name_id
        HAVING count(*) FILTER (WHERE part = 'forward') > 0
    )
)
SELECT
    b.gpu_busy_ns, r.forward_products, r.products - a.share * r.forward_products AS products, r.outside_products,
    r.products / nullif(r.forward_products, 0) - a.share AS count_ratio, r.products_ns / nullif(r.forward_ns, 0) - a.share AS time_ratio,
    (b.flops / nullif(b.measured_occurrences, 0)) / nullif(f.flops / nullif(f.measured_occurrences, 0), 0) AS flops_ratio,
    count_ratio <= 1.35 AND r.outside_products >= 0.6 * r.forward_products AS is_part_outside,
    a.is_named OR a.attention = 0 AS is_share_known
FROM product AS r
CROSS JOIN again AS a
JOIN estimate.phase_costs AS b ON b.phase = 'backward'
LEFT JOIN estimate.phase_costs AS f ON f.phase = 'forward'
WHERE r.products > 0 AND r.forward_products > 0
