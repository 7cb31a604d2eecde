-- Parts of the model that are not counted, and the phases in which they may run.
-- Grain: phase.
-- severity: warning
-- message: {parts} of {model} is not counted: {what}
-- hint: {hint}
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: input.model
-- requires: views.phase_summary, input.model
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Its GPU busy time, warm-up left out. Unit: ns.
--   parts       VARCHAR Names of the parts.
--   model       VARCHAR Name of the model.
--   what        VARCHAR What its numbers are.
--   hint        VARCHAR Options that have them counted, NULL if there are none.
SELECT s.phase, s.gpu_busy_ns - s.warmup_busy_ns - s.cold_busy_ns AS at_stake_ns, m.not_counted AS parts, m.name AS model,
    format('FLOPs, bytes, MFU and MBU of {} ', s.phase) || CASE
        WHEN s.is_upper_bound THEN 'lack it, and may have too much besides, so that they are neither lower nor upper bounds'
        ELSE 'are lower bounds'
    END AS what,
    m.not_counted_hint AS hint
FROM views.phase_summary AS s CROSS JOIN input.model AS m
WHERE m.not_counted IS NOT NULL AND s.phase <> 'decode' AND coalesce(s.flops, s.flops_min) IS NOT NULL
