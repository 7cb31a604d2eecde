-- Optimizer steps without bytes and MBU although the model is known, and why.
-- Grain: one row.
-- severity: info
-- message: the bytes that the optimizer moves, and its MBU, are not known: {reason}
-- hint: {advice}
-- concerns: estimate.occurrence_costs
-- empty without: attribute.optimizer_kernels
-- requires: attribute.optimizer_kernels, attribute.phase_ranges, estimate.occurrence_costs, input.model
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  NULL: no time is lost. Unit: ns.
--   reason      VARCHAR Why.
--   advice      VARCHAR What to do.
SELECT
    'optimizer' AS phase, NULL::BIGINT AS at_stake_ns,
    CASE
        WHEN o.is_adam AND o.is_replicated
            THEN 'gradients are reduced as often as they are scattered, as among replicas (HSDP), and nothing says which ranks scatter to each other'
        WHEN o.is_adam AND o.shards IS NULL
            THEN 'gradients are scattered over GPUs that are not all in the trace, so nobody says how many share its weights'
        WHEN o.is_adam THEN 'its kernels do not name one type that gradients, weights and moments have'
        WHEN NOT o.is_adam THEN 'it is not Adam alone, on the GPU and with two whole moments'
        ELSE 'neither its kernels nor a range of PyTorch says which optimizer it is'
    END AS reason,
    CASE
        WHEN o.is_adam AND o.is_replicated THEN 'NCCL says it in payloads of its ranges, which exports of `llmperf capture` hold, and others with `nsys export --include-blobs=true`'
        WHEN o.is_adam AND o.shards IS NULL THEN 'analyse the directory with the traces of all ranks, or say how many data-parallel ranks there are with `--dp`'
        ELSE 'bytes are counted for Adam and AdamW that keep all of their state in one type'
    END AS advice
FROM attribute.optimizer_kernels AS o
WHERE (NOT coalesce(o.is_adam, false) OR o.shards IS NULL OR o.scalar IS NULL)
    AND NOT EXISTS (FROM estimate.occurrence_costs JOIN attribute.phase_ranges USING (occurrence_id) WHERE phase = 'optimizer' AND bytes > 0)
    AND EXISTS (FROM input.model) AND EXISTS (FROM attribute.phase_ranges WHERE phase = 'optimizer')
