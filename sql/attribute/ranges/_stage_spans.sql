-- Ranges of stages, as spans of the sweep.
-- Grain: span_id.
-- requires: attribute.stage_ranges
-- columns:
--   lane     BIGINT  Thread.
--   sublane  BIGINT  Domain.
--   span_id  BIGINT  The range.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT global_tid AS lane, domain_id AS sublane, range_id AS span_id, start_ns, end_ns FROM attribute.stage_ranges
