-- A pass that is said to be split among more GPUs than worked in the trace, and not by the run itself: a report of one
-- rank, whose mark tells the degrees, has one GPU of many and is right.
-- Grain: one row, none if the degrees fit.
-- severity: warning
-- message: with {degrees} each pass is split among {ranks:,} GPUs, but the trace has work on only {gpu_count:,}: FLOPs, MFU and
--   MBU are of 1/{ranks:,} of each pass on each GPU
-- hint: right only if the other GPUs are in other traces; else pass the degree that the run had
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: input.model
-- requires: input.model, load.devices
-- columns:
--   phase       VARCHAR NULL: it is about all of them.
--   at_stake_ns BIGINT  NULL: every number of the model depends on it. Unit: ns.
--   degrees     VARCHAR The options that say so.
--   ranks       BIGINT  GPUs that share a pass, as the options say.
--   gpu_count   BIGINT  GPUs with work.
SELECT
    NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns,
    concat_ws(' ', CASE WHEN m.tp > 1 THEN '--tp ' || m.tp END, CASE WHEN m.pp > 1 THEN '--pp ' || m.pp END,
        CASE WHEN m.ep > 1 THEN '--ep ' || m.ep END) AS degrees,
    m.ranks, (SELECT count(*) FROM load.devices WHERE has_work) AS gpu_count
FROM input.model AS m
WHERE m.ranks <> m.told_ranks
    AND (SELECT count(*) FROM load.devices WHERE has_work) BETWEEN 1 AND m.ranks - 1
