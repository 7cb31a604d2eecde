-- Gradients of the LM head that a forward computes, as Liger's fused loss does: chunk by chunk logits, loss and both gradients.
-- Algorithm: behind the first kernel of the loss an ordinary forward has no product. Of those that are there, one for each further
-- chunk makes logits, and the others gradients.
-- Grain: one row, none if no forward with a backward has products behind its loss.
-- materialize: table
-- empty without: load.strings WHERE value = 'liger_cross_entropy_kernel'
-- requires: attribute.training_passes, attribute.gpu_work, attribute.kernel_families, load.strings
-- columns:
--   products    DOUBLE  Products of gradients in a forward.
--   products_ns DOUBLE  Their time on the GPU. Unit: ns.
WITH pass AS (
    SELECT occurrence_id, together_id FROM attribute.training_passes WHERE part = 'forward' AND step IS NOT NULL
),
kernel AS (
    SELECT
        w.occurrence_id, s.value = 'liger_cross_entropy_kernel' AS is_loss, w.end_ns - w.start_ns AS time_ns,
        bool_or(is_loss) OVER (
            PARTITION BY w.occurrence_id ORDER BY w.start_ns, w.op_id ROWS UNBOUNDED PRECEDING
        ) AS is_behind
    FROM pass AS p
    JOIN attribute.gpu_work AS w USING (occurrence_id)
    JOIN attribute.kernel_families AS f ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id
    LEFT JOIN load.strings AS s ON s.string_id = w.name_id
    WHERE f.family IN ('gemm', 'gemv') OR s.value = 'liger_cross_entropy_kernel'
),
total AS (
    SELECT
        count(*) FILTER (WHERE is_behind AND NOT is_loss) AS products,
        products - greatest(count(*) FILTER (WHERE is_loss) - count(DISTINCT occurrence_id) FILTER (WHERE is_loss), 0)
            AS gradients,
        coalesce(sum(time_ns) FILTER (WHERE is_behind AND NOT is_loss), 0) AS time_ns
    FROM kernel
)
SELECT t.gradients / p.passes AS products, t.time_ns * (t.gradients / t.products) / p.passes AS products_ns
FROM total AS t CROSS JOIN (SELECT count(DISTINCT together_id) AS passes FROM pass) AS p
WHERE p.passes > 0 AND t.gradients >= p.passes
