-- Operators of torch that were recorded without the shapes of their inputs.
-- Grain: one row, none if there are no operators, or any has shapes.
-- severity: info
-- message: the {operator_count:,} calls of torch's operators in the trace have no shapes, so nothing is known about their FLOPs
-- hint: record with `record_shapes=True`, or with `llmperf capture --ops`
-- concerns: attribute.operator_calls
-- empty without: attribute.operator_ranges
-- requires: attribute.operator_ranges
-- columns:
--   phase          VARCHAR NULL: it is about the whole trace.
--   at_stake_ns    BIGINT  NULL: no time is at stake. Unit: ns.
--   operator_count BIGINT  Calls.
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, count(*) AS operator_count
FROM attribute.operator_ranges
HAVING count(*) > 0 AND count(shapes) = 0
