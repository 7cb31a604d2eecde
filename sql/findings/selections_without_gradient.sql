-- Scores that pick what attention sees, in a model that is trained: their gradients are not counted.
-- Grain: one row, where a model with such scores is trained.
-- severity: info
-- message: {model} picks what its attention sees by scores, whose gradients are not counted: if the training runs them, for a loss of the
--   indexer's own, FLOPs and MFU are lower bounds
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: input.model
-- requires: estimate.phase_costs, input.model, input.shape_ops
-- columns:
--   phase       VARCHAR NULL.
--   at_stake_ns BIGINT  NULL. Unit: ns.
--   model       VARCHAR Name of the model.
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, m.name AS model
FROM input.model AS m
WHERE EXISTS (FROM input.shape_ops WHERE starts_with(name, 'index_'))
    AND EXISTS (FROM estimate.phase_costs WHERE phase IN ('backward', 'forward_backward', 'step') AND flops IS NOT NULL)
