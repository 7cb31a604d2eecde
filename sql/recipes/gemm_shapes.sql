-- Which matrix products should take the most time?
-- The estimate's GEMMs by their time at the speed of light, over all layers and passes; needs a model and shapes.
-- params:
--   top=20  Products to show.
-- columns:
--   phase       VARCHAR  Name of the phase.
--   name        VARCHAR  Name of the operation.
--   m           BIGINT   Rows.
--   n           BIGINT   Columns.
--   k           BIGINT   Inner dimension.
--   dtype       VARCHAR  What the product runs in.
--   count       BIGINT   Products: layers × passes.
--   flops       BIGINT   FLOPs of all of them. Unit: FLOP.
--   bytes       BIGINT   Minimum bytes of all of them. Unit: bytes.
--   sol_ns      DOUBLE   Their time at the speed of light. Unit: ns.
SELECT
    phase, name, m, n, k, dtype, sum(layers * occurrences)::BIGINT AS "count",
    sum(flops * layers * occurrences)::BIGINT AS flops, sum(bytes * layers * occurrences)::BIGINT AS bytes,
    sum(sol_ns * layers * occurrences) AS sol_ns
FROM ops
WHERE kind = 'gemm'
GROUP BY phase, name, m, n, k, dtype
ORDER BY sol_ns DESC NULLS LAST, flops DESC, phase, name, m, n, k, dtype
LIMIT $top
