-- Which optimizer the steps run, by its kernels and by the ranges that PyTorch names after it; and over how many GPUs the
-- weights that it updates are spread: those that gradients are scattered to after they are reduced (FSDP, ZeRO), or those that gather
-- weights in the optimizer where gradients are reduced on all (ZeRO-1). Matrix products in it are another optimizer's (Muon, SOAP), which
-- programs run beside AdamW for tables and norms.
-- Grain: one row; no row without an optimizer pass.
-- materialize: table
-- empty without: attribute.training_passes
-- requires: attribute.training_passes, attribute.gpu_work, attribute.kernel_families, attribute.collectives, attribute.phase_ranges, load.strings, load.nvtx_ranges, load.ranks
-- columns:
--   is_adam BOOLEAN  Whether it is Adam or AdamW alone, on the GPU, with two whole moments (AMSGrad has three); NULL where nothing says.
--   scalar  VARCHAR  C++ type of gradients, weights and moments, NULL where its kernels do not say, or say several.
--   shards  BIGINT   GPUs that weights and moments are spread over, 1 where each has all; NULL where not all of them are
--                    in the trace, or where gradients are not all that is scattered.
--   is_replicated BOOLEAN Whether gradients are reduced as often as they are scattered, as among replicas of what shares weights (HSDP), and
--                    NCCL does not say which ranks scatter: those of several groups look like one. Then shards is NULL.
--   ranks   BIGINT   Ranks of the trace.
WITH pass AS (
    SELECT occurrence_id, lane FROM attribute.training_passes WHERE part = 'optimizer'
),
kernel AS (
    SELECT DISTINCT s.value AS name, f.family
    FROM attribute.gpu_work AS w
    SEMI JOIN pass USING (occurrence_id)
    JOIN load.strings AS s ON s.string_id = coalesce(w.full_name_id, w.name_id)
    LEFT JOIN attribute.kernel_families AS f ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id
    WHERE w.kind = 'kernel'
),
named AS (
    SELECT
        name, regexp_matches(name, '(?i)adam') OR contains(name, 'LerpFunctor') AS is_adam,
        -- AMSGrad's lists hold five tensors each, or it takes the maximum of two op by op.
        coalesce(family, '') = 'gemm'
            OR regexp_matches(name, 'SGD|Sgd|LAMB|Lion|Adagrad|NovoGrad|kOptimizer\w*8bit|FusedAdamMathFunctor<[\w:]+, (?:\(int\))?5|::maximum<') AS is_other,
        CASE
            -- Those of Apex and Transformer Engine keep moments in types of their own, and some of them weights in two.
            WHEN regexp_matches(name, '(?i)AdamFunctor<|AdamCapturable\w*<|AdamFunctorMaster|DistAdam')
                THEN CASE WHEN regexp_matches(name, '\bAdam(?:Capturable)?Functor<float(?:, (?:float|int|long))+>') THEN 'float' ELSE 'several' END
            -- Of torch's fused kernels, or of the moment's own update where tensors are updated op by op.
            ELSE regexp_extract(name, '(?:FusedAdamMathFunctor|TernaryOpScalarFunctor)<([\w:]+)', 1)
        END AS scalar
    FROM kernel
),
text AS (
    -- Such as Adam8bit, AdamW4bit, DeepSpeedCPUAdam, Adam_mini, GaLoreAdamW and MuonWithAuxAdam move other bytes.
    SELECT
        bool_and(regexp_matches(name, 'Optimizer\.step#\w*Adam') AND NOT regexp_matches(name, '(?i)[48]_?bit|fp8|cpu|mini|galore|muon'))
            AS is_adam,
        count(*) AS ranges
    FROM load.nvtx_ranges
    WHERE starts_with(name, 'Optimizer.step#')
),
scattered AS (
    SELECT
        count(*) AS scatters, count(c.rank_count) AS known, max(c.rank_count) AS ranks,
        coalesce(bool_or(p.phase = 'forward'), false) AS is_in_forward, count(c.communicator) AS said
    FROM attribute.collectives AS c
    LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)
    WHERE c.kind = 'reduce_scatter'
),
reduced AS (
    SELECT count(*) AS reductions
    FROM attribute.collectives AS c JOIN attribute.phase_ranges AS p USING (occurrence_id)
    WHERE c.kind = 'all_reduce' AND p.phase = 'backward'
),
replica AS (
    SELECT scatters > 0 AND said < scatters AND reductions = scatters AND ranks >= 4 AS is_replicated FROM scattered CROSS JOIN reduced
),
updated AS (
    SELECT count(*) AS gathers, count(c.rank_count) AS known, max(c.rank_count) AS ranks
    FROM attribute.collectives AS c SEMI JOIN pass USING (occurrence_id)
    WHERE c.kind = 'all_gather'
),
job AS (
    SELECT coalesce(max(world) > count(*), false) AS lacks_ranks, count(*) AS ranks FROM load.ranks
)
SELECT
    CASE
        WHEN NOT any_value(t.is_adam) OR bool_or(n.is_other) THEN false
        WHEN any_value(t.is_adam) OR bool_or(n.is_adam) THEN true
    END AS is_adam,
    CASE
        WHEN count(DISTINCT n.scalar) FILTER (n.is_adam AND n.scalar <> '') = 1
            THEN nullif(any_value(n.scalar) FILTER (n.is_adam AND n.scalar <> ''), 'several')
    END AS scalar,
    any_value(CASE
        WHEN h.is_replicated THEN NULL
        WHEN s.scatters = 0 AND u.gathers > 0 THEN CASE WHEN u.known = u.gathers AND NOT j.lacks_ranks THEN u.ranks END
        WHEN s.scatters = 0 THEN 1
        WHEN s.known = s.scatters AND NOT s.is_in_forward AND NOT j.lacks_ranks THEN s.ranks
    END) AS shards,
    coalesce(any_value(h.is_replicated), false) AS is_replicated,
    any_value(j.ranks) AS ranks
FROM (FROM pass LIMIT 1) AS one
CROSS JOIN text AS t
CROSS JOIN scattered AS s
CROSS JOIN updated AS u
CROSS JOIN job AS j
CROSS JOIN replica AS h
LEFT JOIN named AS n ON true
HAVING count(*) > 0
