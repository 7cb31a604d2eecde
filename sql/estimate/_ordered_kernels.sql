-- Which operator each product and attention kernel of a dense decoder computes, by their order alone: where no layer is marked.
-- Algorithm: a pass runs one attention kernel a layer, and its products are cut at those. Between any two, the same number must
-- run: output projection, MLP, then queries, keys and values of the next layer. After the last one, the latter are missing, and
-- `lm_head` ends the pass. That tells how many there are of each. A pass in which one of these numbers differs has no row.
-- Grain: op_id.
-- requires: attribute.gpu_work, attribute.occurrences, attribute.layer_ranges, attribute.kernel_families, load.strings, input.occurrence_shapes, input.shape_ops, macros.model_operator, macros.is_attention_helper, macros.is_split_k_tail
-- columns:
--   op_id         BIGINT   Joins load.gpu_ops.
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   block_id      BIGINT   Number of its layer.
--   is_helper     BOOLEAN  Whether it only adds up what the product before it left in pieces (split-K), or is a part of attention.
--   operator      VARCHAR  'qkv', 'attention', 'o', 'gate_up', 'down', 'lm_head', or 'other' before the first layer.
WITH model AS (
    SELECT
        shape_id, sum(layers) FILTER (WHERE name = 'attention') AS layers,
        count(*) FILTER (WHERE name = 'lm_head' AND flops > 0) AS heads
    FROM input.shape_ops
    WHERE kind IN ('gemm', 'grouped_gemm', 'attention')
    GROUP BY shape_id
    HAVING bool_and(coalesce(macros.model_operator(name) IN ('qkv', 'attention', 'o', 'gate_up', 'down', 'lm_head'), false))
),
kernel AS (
    SELECT
        w.op_id, w.occurrence_id, m.layers, m.heads, w.launch_start_ns, w.start_ns,
        f.family = 'attention' AND NOT macros.is_attention_helper(n.value, l.value) AS is_attention,
        f.family <> 'attention' AND NOT macros.is_split_k_tail(n.value) AS is_product
    FROM attribute.gpu_work AS w
    JOIN attribute.occurrences AS p USING (occurrence_id)
    JOIN input.occurrence_shapes AS o USING (occurrence_id)
    JOIN model AS m USING (shape_id)
    JOIN attribute.kernel_families AS f ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id
    LEFT JOIN load.strings AS n ON n.string_id = w.name_id
    LEFT JOIN load.strings AS l ON l.string_id = w.full_name_id
    WHERE w.kind = 'kernel' AND f.family IN ('gemm', 'gemv', 'attention') AND p.is_measured AND m.layers > 1
        AND (SELECT count(*) FROM attribute.layer_ranges) = 0
),
cut AS (
    SELECT
        *, count(CASE WHEN is_attention THEN 1 END) OVER (PARTITION BY occurrence_id ORDER BY launch_start_ns, start_ns, op_id)
            AS block_id
    FROM kernel
),
counted AS (
    SELECT
        *, count(CASE WHEN is_product THEN 1 END) OVER (
            PARTITION BY occurrence_id, block_id ORDER BY launch_start_ns, start_ns, op_id
        ) AS product_index
    FROM cut
),
stretch AS (
    SELECT
        occurrence_id, block_id, any_value(layers) AS layers, any_value(heads) AS heads,
        count(*) FILTER (WHERE is_product) AS products
    FROM counted
    GROUP BY occurrence_id, block_id
),
told AS (
    SELECT
        occurrence_id, max(block_id) AS layers, min(products) FILTER (WHERE block_id BETWEEN 1 AND layers - 1) AS each,
        any_value(products) FILTER (WHERE block_id = layers) - any_value(heads) AS last_products
    FROM stretch
    GROUP BY occurrence_id
    HAVING max(block_id) = any_value(layers) AND count(*) FILTER (WHERE block_id > 0) = any_value(layers)
        AND min(products) FILTER (WHERE block_id BETWEEN 1 AND layers - 1)
            = max(products) FILTER (WHERE block_id BETWEEN 1 AND layers - 1)
        AND last_products BETWEEN 3 AND 4 AND each - last_products BETWEEN 1 AND 3
        AND any_value(products) FILTER (WHERE block_id = 0) >= each - last_products
),
before AS (
    SELECT occurrence_id, products FROM stretch WHERE block_id = 0
)
SELECT
    c.op_id, c.occurrence_id,
    CASE WHEN c.block_id > 0 AND (c.is_attention OR c.product_index <= t.last_products) THEN c.block_id ELSE c.block_id + 1 END
        AS block_id,
    NOT c.is_attention AND NOT c.is_product AS is_helper,
    CASE
        WHEN c.is_attention THEN 'attention'
        WHEN c.product_index = 0 THEN CASE WHEN c.block_id > 0 THEN 'attention' ELSE 'other' END
        WHEN c.block_id = 0 THEN CASE WHEN c.product_index > b.products - (t.each - t.last_products) THEN 'qkv' ELSE 'other' END
        WHEN c.product_index = 1 THEN 'o'
        WHEN c.product_index < t.last_products THEN 'gate_up'
        WHEN c.product_index = t.last_products THEN 'down'
        WHEN c.block_id < t.layers THEN 'qkv'
        ELSE 'lm_head'
    END AS operator
FROM counted AS c JOIN told AS t USING (occurrence_id) LEFT JOIN before AS b USING (occurrence_id)
