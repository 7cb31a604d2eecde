-- Passes whose FLOPs are known and that have no GPU work in the trace, while other work is there: the recorder missed it, or it runs elsewhere.
-- Their time on the GPU is then taken for 0, and the phase has no MFU.
-- Grain: phase.
-- severity: warning
-- message: {without_count:,} of {pass_count:,} measured passes of {phase} have tokens and no GPU work in the trace: their GPU times are not 0, but
--   unknown, and so are MFU and MBU of {phase}
-- hint: {advice}
-- empty without: estimate.occurrence_costs
-- requires: estimate.occurrence_costs, attribute.occurrences, attribute.work_by_occurrence, load.recorder
-- columns:
--   phase         VARCHAR The phase.
--   at_stake_ns   BIGINT  NULL: it is what is missing. Unit: ns.
--   without_count BIGINT  Passes without GPU work.
--   pass_count    BIGINT  All measured passes of the phase that have a shape.
--   advice        VARCHAR What to do about it.
SELECT
    o.phase, NULL::BIGINT AS at_stake_ns, count_if(c.device_count = 0)::BIGINT AS without_count, count(*)::BIGINT AS pass_count,
    CASE (SELECT recorder FROM load.recorder)
        WHEN 'torch.profiler' THEN 'torch.profiler misses what runs right behind its start: give `schedule` a warm-up step, or leave these '
            || 'passes out with --skip or --from'
        ELSE 'leave them out with --skip, --from or --to, or record again; if another thread or process launched their work, mark the passes there'
    END AS advice
FROM estimate.occurrence_costs AS c
JOIN attribute.occurrences AS o USING (occurrence_id)
WHERE o.is_measured AND c.flops > 0 AND EXISTS (FROM attribute.work_by_occurrence)
GROUP BY o.phase
HAVING count_if(c.device_count = 0) > 0
