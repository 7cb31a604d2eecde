-- Ranges that mean one request, and requests that were inferred, as spans of the sweep.
-- Grain: span_id.
-- requires: load.nvtx_ranges, input.range_roles, attribute._inferred_requests
-- columns:
--   lane     BIGINT  Thread.
--   sublane  BIGINT  Domain, -1 of what was inferred.
--   span_id  BIGINT  The range.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT r.global_tid AS lane, r.domain_id AS sublane, r.range_id AS span_id, r.start_ns, r.end_ns
FROM load.nvtx_ranges AS r JOIN input.range_roles AS m ON m.domain = r.domain AND m.name = r.name
WHERE m.role = 'request' AND r.kind = 'push_pop'
UNION ALL
SELECT global_tid, -1, request_id, start_ns, end_ns
FROM attribute._inferred_requests
-- Requests that ranges mark hold the inferred steps, too.
WHERE NOT EXISTS (FROM input.range_roles WHERE role = 'request')
