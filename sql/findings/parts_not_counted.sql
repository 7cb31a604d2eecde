-- Parts of the model that are not counted, and the phases in which they may run.
-- Grain: phase.
-- severity: warning
-- message: {parts} of {model} is not counted: FLOPs, bytes, MFU and MBU of {phase} are lower bounds
-- hint: {hint}
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: input.model
-- requires: views.phase_summary, input.model
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Its GPU busy time, warm-up left out. Unit: ns.
--   parts       VARCHAR Names of the parts.
--   model       VARCHAR Name of the model.
--   hint        VARCHAR Options that have them counted, NULL if there are none.
SELECT s.phase, s.gpu_busy_ns - s.warmup_busy_ns - s.cold_busy_ns AS at_stake_ns, m.not_counted AS parts, m.name AS model,
    m.not_counted_hint AS hint
FROM views.phase_summary AS s CROSS JOIN input.model AS m
WHERE s.is_lower_bound
