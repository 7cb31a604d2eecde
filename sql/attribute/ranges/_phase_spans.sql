-- Push/pop ranges that are phases, and phases that were inferred, as spans of the sweep.
-- Grain: span_id.
-- requires: load.nvtx_ranges, attribute._marked_phases, attribute._inferred_phases
-- columns:
--   lane     BIGINT  Thread.
--   sublane  BIGINT  Domain, -1 of what was inferred.
--   span_id  BIGINT  The occurrence.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT r.global_tid AS lane, r.domain_id AS sublane, r.range_id AS span_id, p.start_ns, p.end_ns
FROM load.nvtx_ranges AS r JOIN attribute._marked_phases AS p ON p.occurrence_id = r.range_id
WHERE r.kind = 'push_pop'
UNION ALL
SELECT global_tid, -1, occurrence_id, start_ns, end_ns FROM attribute._inferred_phases
