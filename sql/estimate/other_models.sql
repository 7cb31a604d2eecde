-- A model whose number of layers is not that of the passes in the trace: nothing is counted with it.
-- Algorithm: two ways to tell. By far: the attention kernels of a pass are one and a half times as many as the model's layers have, and
-- its matrix products more than the model has even with nothing fused; or both are fewer, with everything fused. Every phase that can
-- tell must say so, and the same number: drafts of speculative decoding and towers of other models run in some phases only.
-- Exactly: each layer of an even pass has one attention kernel, one activation and the same number of products, beside the head and the
-- angles of positions. All even phases have the same number of layers, and no phase has the model's, or a multiple of it.
-- Grain: one row, none if one phase fits or cannot tell.
-- materialize: table
-- empty without: input.pass_ops
-- requires: attribute.pass_kernels, attribute.several_passes, input.model, input.pass_ops, attribute.phase_walls
-- columns:
--   phase             VARCHAR The phase whose kernels are told.
--   model             VARCHAR Name of the model.
--   attention         BIGINT  Attention operations in a pass of it.
--   products          VARCHAR Matrix products in a pass of it: with everything fused to with nothing fused; with experts, no most.
--   attention_kernels BIGINT  Attention kernels in a pass of the phase.
--   product_kernels   BIGINT  Matrix products in a pass of the phase.
WITH pass AS (
    -- Of a range that holds several passes, one of them.
    SELECT
        k.phase, k.attention_kernels / coalesce(s.passes, 1) AS attention_kernels, k.product_kernels / coalesce(s.passes, 1) AS product_kernels,
        k.activation_kernels / coalesce(s.passes, 1) AS activation_kernels
    FROM attribute.pass_kernels AS k LEFT JOIN attribute.several_passes AS s USING (phase)
),
compared AS (
    SELECT
        o.phase, o.attention,
        coalesce(format('{:,} to {:,}', o.products_min, o.products_max), format('at least {:,}', o.products_min)) AS products,
        k.attention_kernels, k.product_kernels,
        k.attention_kernels >= 1.5 * o.attention AND k.product_kernels > 1.05 * o.products_max AS is_more,
        k.attention_kernels <= o.attention / 1.5 AND k.product_kernels < 0.95 * o.products_min AS is_less,
        k.attention_kernels >= 4 AND k.attention_kernels = round(k.attention_kernels)
            AND k.activation_kernels = k.attention_kernels AND k.product_kernels >= k.attention_kernels
            AND k.product_kernels % k.attention_kernels <= 2 AS is_even,
        -- A few more may be layers that draft.
        NOT k.attention_kernels / o.attention BETWEEN 1 / 1.15 AND 1.15 AS is_other,
        -- Twice as many may be two passes in a range, and half as many those that are seen of two kinds (of encoder and decoder).
        k.attention_kernels % o.attention = 0 AND (is_even OR k.attention_kernels <= 4 * o.attention)
            OR o.attention % k.attention_kernels = 0 AS fits
    FROM input.pass_ops AS o
    JOIN pass AS k USING (phase)
    -- Not the same in every pass: something else is among them.
    WHERE o.attention > 0 AND k.attention_kernels > 0
        AND abs(k.attention_kernels - round(k.attention_kernels)) <= 0.02 * k.attention_kernels
),
verdict AS (
    SELECT
        (bool_and(coalesce(is_more, false)) OR bool_and(coalesce(is_less, false)))
            AND max(round(attention_kernels)) = min(round(attention_kernels)) AS is_far,
        coalesce(
            bool_and(is_other) FILTER (WHERE is_even)
                AND max(attention_kernels) FILTER (WHERE is_even) = min(attention_kernels) FILTER (WHERE is_even), false
        ) AND NOT bool_or(fits) AS is_exact,
        min(phase) AS phase, min(phase) FILTER (WHERE is_even) AS even_phase
    FROM compared
)
SELECT
    c.phase, m.name AS model, c.attention, c.products, round(c.attention_kernels)::BIGINT AS attention_kernels,
    round(c.product_kernels)::BIGINT AS product_kernels
FROM verdict AS v
JOIN compared AS c ON c.phase = CASE WHEN v.is_far THEN v.phase ELSE v.even_phase END
CROSS JOIN input.model AS m
WHERE (v.is_far OR v.is_exact) AND NOT EXISTS (FROM attribute.phase_walls WHERE phase IN ('draft', 'verify'))
