-- Ranges of the model's modules, as spans of the sweep: blocks of layers and parts of the vision side.
-- Grain: span_id.
-- requires: attribute.layer_ranges, attribute.stage_ranges
-- columns:
--   lane     BIGINT  Thread.
--   sublane  BIGINT  Domain.
--   span_id  BIGINT  The range.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT global_tid AS lane, domain_id AS sublane, range_id AS span_id, start_ns, end_ns FROM attribute.layer_ranges
UNION ALL
SELECT global_tid AS lane, domain_id AS sublane, range_id AS span_id, start_ns, end_ns FROM attribute.stage_ranges
