-- What checkpointing runs again: products and attention of the forward whose kernels are launched by the backward, too.
-- A layer's attention runs once in the forward, so the share of layers that are run again is that of attention kernels; its
-- products are counted in units of attention kernels. Kernels of the backward proper have other names: they read their
-- matrices in another order, which is in the names of cuBLAS and CUTLASS.
-- Grain: one row, of all steps and ranks; no row where no forward with a backward has products.
-- materialize: table
-- empty without: attribute.training_passes
-- requires: attribute.training_passes, attribute.gpu_work, attribute.kernel_families, load.strings
-- columns:
--   forward_kernels    BIGINT  Products and attention kernels of the forwards.
--   again_kernels      BIGINT  Those of the same names in the backwards.
--   layers_ratio       DOUBLE  Attention kernels in backwards / in forwards; NULL without attention kernels.
--   products           BIGINT  Products of a layer in the forward, NULL likewise.
--   products_again     BIGINT  Products of a layer in the backward, NULL likewise and where no layer is run again.
WITH pass AS (
    SELECT occurrence_id, part FROM attribute.training_passes WHERE part IN ('forward', 'backward') AND step IS NOT NULL
),
launched AS (
    SELECT
        f.family, coalesce(w.full_name_id, w.name_id) AS name_id, count(*) FILTER (p.part = 'forward') AS forward_count,
        count(*) FILTER (p.part = 'backward') AS again_count
    FROM pass AS p
    JOIN attribute.gpu_work AS w USING (occurrence_id)
    JOIN attribute.kernel_families AS f
        ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id
            AND f.family IN ('gemm', 'attention')
    WHERE w.kind = 'kernel'
    GROUP BY ALL
),
-- The traces of several ranks have strings of their own.
kernel AS (
    SELECT
        l.family, s.value AS name, sum(l.forward_count) AS forward_count, sum(l.again_count) AS again_count
    FROM launched AS l JOIN load.strings AS s ON s.string_id = l.name_id
    GROUP BY l.family, s.value
    HAVING sum(l.forward_count) > 0
),
layer AS (
    SELECT forward_count, nullif(again_count, 0) AS again_count
    FROM kernel
    WHERE family = 'attention'
    ORDER BY forward_count DESC, again_count DESC
    LIMIT 1
)
SELECT
    sum(k.forward_count)::BIGINT AS forward_kernels, sum(k.again_count)::BIGINT AS again_kernels,
    any_value(coalesce(l.again_count, 0) / l.forward_count) AS layers_ratio,
    -- What runs once in a pass, as the LM head, is less than one of a layer.
    (sum(k.forward_count // l.forward_count) FILTER (k.family = 'gemm'))::BIGINT AS products,
    (sum(k.again_count // l.again_count) FILTER (k.family = 'gemm'))::BIGINT AS products_again
FROM kernel AS k LEFT JOIN layer AS l ON true
HAVING count(*) > 0
