-- Layers that predict further tokens (MTP), which a training run may have and nobody counts.
-- Grain: one row, where a model with such layers is trained.
-- severity: info
-- message: {model} has {layer_count:,} layers that predict further tokens, which are not counted: if the training runs them, FLOPs
--   and MFU are lower bounds
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: input.model
-- requires: estimate.phase_costs, input.model
-- columns:
--   phase       VARCHAR NULL.
--   at_stake_ns BIGINT  NULL. Unit: ns.
--   model       VARCHAR Name of the model.
--   layer_count BIGINT  Such layers.
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, m.name AS model, m.further_layers AS layer_count
FROM input.model AS m
WHERE m.further_layers > 0 AND EXISTS (FROM estimate.phase_costs WHERE phase IN ('backward', 'forward_backward', 'step') AND flops IS NOT NULL)
