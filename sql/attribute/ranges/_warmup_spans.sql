-- Ranges that mark warm-up, as spans of the sweep.
-- Grain: span_id.
-- empty without: input.range_roles WHERE role = 'warmup'
-- requires: load.nvtx_ranges, input.range_roles
-- columns:
--   lane     BIGINT  Thread.
--   sublane  BIGINT  Domain; of each start/end range one of its own, because they need not nest.
--   span_id  BIGINT  The range.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT
    r.global_tid AS lane, CASE WHEN r.kind = 'push_pop' THEN r.domain_id ELSE -1 - r.range_id END AS sublane,
    r.range_id AS span_id, r.start_ns, r.end_ns
FROM load.nvtx_ranges AS r JOIN input.range_roles AS m ON m.domain = r.domain AND m.name = r.name
WHERE m.role = 'warmup'
