-- Degrees of parallelism that the user says, and a job of another size in the trace.
-- Algorithm: a job has as many GPUs as the product of its degrees. What the trace shows is the larger of the world that its ranks say and of
-- the GPUs with work; one GPU alone says nothing. Without --dp it is any multiple of those that share a pass. parallel_degree_mismatch has fewer GPUs than that.
-- Grain: one row, none if they agree.
-- severity: warning
-- message: with {degrees} {says}, but {seen}{shards}
-- hint: right only if the other GPUs are in other traces; else pass the degrees that the run had
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: input.model
-- requires: input.model, load.devices, load.ranks, attribute.optimizer_kernels
-- columns:
--   phase       VARCHAR NULL: it is about all of them.
--   at_stake_ns BIGINT  NULL: it is about numbers of the model. Unit: ns.
--   degrees     VARCHAR The options that say so.
--   says        VARCHAR What follows from them.
--   seen        VARCHAR What the trace shows.
--   shards      VARCHAR What the bytes of the optimizer go by in spite of --dp, or ''.
WITH job AS (
    SELECT
        (SELECT count(*) FROM load.devices WHERE has_work) AS gpus, (SELECT coalesce(max(world), 0) FROM load.ranks) AS world,
        (SELECT any_value(shards) FROM attribute.optimizer_kernels) AS shards
),
told AS (
    SELECT
        j.*, m.told_dp, m.ranks * m.cp AS share, m.ranks <> m.told_ranks OR m.told_dp IS NOT NULL AS is_told,
        m.ranks * m.cp * m.told_dp AS expected, greatest(j.gpus, j.world) AS found,
        concat_ws(' ', CASE WHEN m.tp > 1 THEN '--tp ' || m.tp END, CASE WHEN m.pp > 1 THEN '--pp ' || m.pp END,
            CASE WHEN m.cp > 1 THEN '--cp ' || m.cp END, CASE WHEN m.ep > 1 THEN '--ep ' || m.ep END,
            CASE WHEN m.told_dp IS NOT NULL THEN '--dp ' || m.told_dp END) AS degrees
    FROM input.model AS m CROSS JOIN job AS j
)
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, degrees,
    CASE
        WHEN told_dp IS NOT NULL THEN format('the job has {:,} GPU{}', expected, CASE WHEN expected = 1 THEN '' ELSE 's' END)
        ELSE format('the job has a multiple of {:,} GPUs', share)
    END AS says,
    CASE
        WHEN world > gpus THEN format('its ranks say that they are {:,}', world)
        ELSE format('the trace has work on {:,}', gpus)
    END AS seen,
    CASE
        WHEN told_dp IS NOT NULL AND shards > 1 AND shards <> told_dp
            THEN format('; bytes of the optimizer go by the {:,} GPUs that gradients are scattered among', shards)
        ELSE ''
    END AS shards
FROM told
WHERE is_told AND gpus > 0 AND found > 1
    AND CASE WHEN told_dp IS NOT NULL THEN found <> expected ELSE found > share AND found % share <> 0 END
