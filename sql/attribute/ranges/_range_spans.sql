-- Push/pop ranges as spans of the sweep: a lane per thread, a sublane per domain.
-- Grain: span_id.
-- requires: load.nvtx_ranges
-- columns:
--   lane     BIGINT  Thread.
--   sublane  BIGINT  Domain.
--   span_id  BIGINT  The range.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT global_tid AS lane, domain_id AS sublane, range_id AS span_id, start_ns, end_ns
FROM load.nvtx_ranges
WHERE kind = 'push_pop'
