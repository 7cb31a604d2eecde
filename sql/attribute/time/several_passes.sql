-- Phases whose ranges each run several passes of the model: a range around a loop, or an engine that schedules several steps at once.
-- Algorithm: a decode step runs the layers once, as a prefill does. Twice as many attention kernels, and half as many matrix products
-- again at the least, are several passes: products are fused otherwise for one token than for many. Where CUDA graphs are recorded as a
-- whole, two launches of the graph that is the pass are two passes. Without a prefill to compare with, samplings tell: each stretch
-- between two of them has the same layers. Drafts have fewer layers than what checks them.
-- Grain: phase; none if a prefill ran nothing, or kernels are missing, and no such graph runs.
-- materialize: table
-- empty without: attribute.pass_kernels WHERE phase = 'decode' AND attention_kernels > 0; attribute.graph_passes; attribute._sampled_passes
-- requires: attribute.pass_kernels, attribute.occurrences, attribute.work_by_occurrence, attribute.graph_passes,
--   attribute._sampled_passes
-- columns:
--   phase  VARCHAR 'decode'.
--   passes DOUBLE  Passes in a range, on average: attention kernels, to those of a prefill, samplings, or launches of the graph.
--   proof  VARCHAR What shows it.
WITH empty AS (
    SELECT o.occurrence_id
    FROM attribute.occurrences AS o LEFT JOIN attribute.work_by_occurrence AS w USING (occurrence_id)
    WHERE o.phase = 'prefill' AND o.is_measured
    GROUP BY o.occurrence_id
    HAVING coalesce(sum(w.kernel_count), 0) = 0
)
SELECT d.phase, d.attention_kernels / p.attention_kernels AS passes, 'its attention kernels and matrix products' AS proof
FROM attribute.pass_kernels AS d JOIN attribute.pass_kernels AS p ON d.phase = 'decode' AND p.phase = 'prefill'
WHERE p.attention_kernels > 0 AND p.product_kernels > 0 AND d.attention_kernels >= 1.9 * p.attention_kernels
    AND d.product_kernels >= 1.5 * p.product_kernels AND NOT EXISTS (FROM empty)
UNION ALL
-- attribute.pass_kernels is without phases in which such graphs run.
SELECT phase, passes, 'the launches of its longest CUDA graph' FROM attribute.graph_passes WHERE passes >= 1.9
UNION ALL
SELECT phase, passes, 'its samplings, with equal layers before each' FROM attribute._sampled_passes
WHERE passes >= 1.9 AND NOT EXISTS (FROM attribute.pass_kernels WHERE phase = 'prefill' AND attention_kernels > 0)
