-- Passes of the model in a range of decode, by its samplings.
-- Algorithm: a sampling ends a pass. Stretches without attention are not passes: several kernels may sample one token. All stretches of
-- all ranges must have the same number of attention kernels and of products; a router that takes the largest of a few has fewer layers
-- before it than four.
-- Grain: phase; none if stretches differ.
-- empty without: attribute.occurrences WHERE phase = 'decode' AND is_measured
-- requires: attribute.gpu_work, attribute._kernel_roles, attribute.occurrences
-- columns:
--   phase  VARCHAR 'decode'.
--   passes DOUBLE  Passes in a range on one GPU, on average.
WITH work AS (
    SELECT
        o.occurrence_id, w.device_id, r.role,
        count(CASE WHEN r.role = 'sample' THEN 1 END) OVER (
            PARTITION BY o.occurrence_id, w.device_id ORDER BY w.start_ns, w.op_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS samplings
    FROM attribute.occurrences AS o
    JOIN attribute.gpu_work AS w USING (occurrence_id)
    JOIN attribute._kernel_roles AS r ON r.name_id = w.name_id AND r.full_name_id IS NOT DISTINCT FROM w.full_name_id
    WHERE o.phase = 'decode' AND o.is_measured AND r.role IN ('attention', 'gemm', 'sample')
),
stretch AS (
    SELECT
        occurrence_id, device_id, samplings, count(*) FILTER (WHERE role = 'attention') AS attention_kernels,
        count(*) FILTER (WHERE role = 'gemm') AS product_kernels
    FROM work
    GROUP BY occurrence_id, device_id, samplings
    HAVING attention_kernels > 0
)
SELECT 'decode' AS phase, count(*) / count(DISTINCT (occurrence_id, device_id)) AS passes
FROM stretch
HAVING min(attention_kernels) = max(attention_kernels) AND min(product_kernels) = max(product_kernels) AND min(attention_kernels) >= 4
