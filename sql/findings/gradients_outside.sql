-- A backward that runs about as many matrix products as its forward, and not the two for one that gradients of inputs and of weights
-- take, while as many run in no phase: a part of it lies in ranges that no rule knows, as schedules of pipelines have them that
-- compute the gradients of weights later.
-- Algorithm: products are counted in a pass of each phase. What checkpointing runs again comes on top; its share is that of the
-- attention kernels of the forward that run in the backward, too.
-- Grain: one row, none for a whole backward.
-- severity: warning
-- message: {phase} runs {products:,} matrix products in a pass, and forward {forward_products:,}: a whole backward runs about twice as many,
--   and {outside_products:,} for each are in no phase ({place}). Its busy time is that of a part, and its MFU, which is of the whole, too high
-- hint: say which ranges are the rest of it (--phase backward=REGEX), or mark each backward as a whole
-- concerns: estimate.occurrence_costs
-- empty without: attribute.training_passes
-- requires: attribute.training_passes, attribute.gpu_work, attribute.occurrences, attribute.kernel_totals, attribute.kernel_families, load.nvtx_ranges, load.strings, estimate.phase_costs
-- columns:
--   phase             VARCHAR 'backward'.
--   at_stake_ns       BIGINT  Its GPU busy time. Unit: ns.
--   products          BIGINT  Matrix products in a pass of it.
--   forward_products  BIGINT  Those in a pass of the forward.
--   outside_products  BIGINT  Those in no phase, for each backward.
--   place             VARCHAR The text of the range that launched most of them.
WITH kernel AS (
    SELECT f.name_id, f.full_name_id, f.family = 'attention' AS is_attention
    FROM attribute.kernel_families AS f LEFT JOIN load.strings AS s ON s.string_id = f.name_id
    WHERE f.family IN ('gemm', 'gemv', 'attention')
        AND NOT coalesce(regexp_matches(s.value, '(?i)split_?k_?reduce|execute_split_?k_kernel|prepare_grouped_gemm'), false)
),
-- `step` and the like have what lies in none of their parts.
part AS (
    SELECT
        t.name_id, t.full_name_id, k.is_attention, CASE WHEN t.phase IN ('forward', 'backward') THEN t.phase ELSE 'outside' END AS part,
        t."count"
    FROM attribute.kernel_totals AS t
    JOIN kernel AS k ON k.name_id = t.name_id AND k.full_name_id IS NOT DISTINCT FROM t.full_name_id
    WHERE t.phase IS NULL OR t.phase IN ('forward', 'backward', 'step', 'forward_backward')
),
total AS (
    SELECT
        sum("count") FILTER (WHERE part = 'forward') / (SELECT count(*) FROM attribute.training_passes WHERE part = 'forward')
            AS forward_products,
        sum("count") FILTER (WHERE part = 'backward') / passes.n AS products, sum("count") FILTER (WHERE part = 'outside') / passes.n AS outside_products
    FROM part, (SELECT count(*) AS n FROM attribute.training_passes WHERE part = 'backward') AS passes
    WHERE NOT is_attention
    GROUP BY passes.n
),
again AS (
    SELECT coalesce(least(1, sum(least(forward_count, backward_count)) / nullif(sum(forward_count), 0)), 0) AS share
    FROM (
        SELECT
            sum("count") FILTER (WHERE part = 'forward') AS forward_count,
            coalesce(sum("count") FILTER (WHERE part = 'backward'), 0) AS backward_count
        FROM part
        WHERE is_attention
        GROUP BY name_id, full_name_id
        HAVING count(*) FILTER (WHERE part = 'forward') > 0
    )
)
SELECT
    c.phase, c.gpu_busy_ns AS at_stake_ns, round(t.products)::BIGINT AS products, round(t.forward_products)::BIGINT AS forward_products,
    round(t.outside_products)::BIGINT AS outside_products,
    coalesce((
        SELECT '`' || left(mode(r.name ORDER BY r.name), 80) || '`'
        FROM attribute.gpu_work AS w
        JOIN kernel AS k ON k.name_id = w.name_id AND k.full_name_id IS NOT DISTINCT FROM w.full_name_id
        JOIN load.nvtx_ranges AS r ON r.range_id = w.range_id
        LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
        WHERE NOT k.is_attention AND r.name <> '' AND (p.phase IS NULL OR p.phase IN ('step', 'forward_backward'))
    ), 'outside every range') AS place
FROM total AS t CROSS JOIN again AS a
JOIN estimate.phase_costs AS c ON c.phase = 'backward'
WHERE c.flops IS NOT NULL AND t.products <= (1.35 + a.share) * t.forward_products AND t.outside_products >= 0.6 * t.forward_products
