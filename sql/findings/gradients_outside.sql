-- A backward that runs about as many matrix products as its forward, and not the two for one that gradients of inputs and of weights
-- take, while as many run in no phase: a part of it lies in ranges that no rule knows, as schedules of pipelines have them that
-- compute the gradients of weights later.
-- Grain: one row, none for a whole backward.
-- severity: warning
-- message: {phase} runs {products:,} matrix products in a pass, and forward {forward_products:,}: a whole backward runs about twice as many,
--   and {outside_products:,} for each are in no phase ({place}). Its busy time is that of a part, and its MFU, which is of the whole, too high
-- hint: say which ranges are the rest of it (--phase backward=REGEX), or mark each backward as a whole
-- concerns: estimate.occurrence_costs
-- empty without: estimate.backward_products
-- requires: estimate.backward_products, attribute.gpu_work, attribute.occurrences, attribute.kernel_families, load.nvtx_ranges
-- columns:
--   phase            VARCHAR 'backward'.
--   at_stake_ns      BIGINT  Its GPU busy time. Unit: ns.
--   products         BIGINT  Matrix products in a pass of it.
--   forward_products BIGINT  Those in a pass of the forward.
--   outside_products BIGINT  Those in no phase, for each backward.
--   place            VARCHAR The text of the range that launched most of them.
SELECT
    'backward' AS phase, gpu_busy_ns AS at_stake_ns, round(products)::BIGINT AS products, round(forward_products)::BIGINT AS forward_products,
    round(outside_products)::BIGINT AS outside_products,
    coalesce((
        SELECT '`' || left(mode(r.name ORDER BY r.name), 80) || '`'
        FROM attribute.gpu_work AS w
        JOIN attribute.kernel_families AS f ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id
        JOIN load.nvtx_ranges AS r ON r.range_id = w.range_id
        LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
        WHERE f.family IN ('gemm', 'gemv') AND r.name <> '' AND (p.phase IS NULL OR p.phase IN ('step', 'forward_backward'))
    ), 'outside every range') AS place
FROM estimate.backward_products
WHERE flops_ratio > 1.8 AND is_part_outside
