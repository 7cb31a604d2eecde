-- The insides of requests, as spans of the sweep: what starts in the instant in which one ends is not inside.
-- Grain: span_id.
-- requires: attribute._request_spans
-- columns:
--   lane     BIGINT  Thread.
--   sublane  BIGINT  As in attribute._request_spans.
--   span_id  BIGINT  The range.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Last instant before its end. Unit: ns.
SELECT lane, sublane, span_id, start_ns, end_ns - 1 AS end_ns
FROM attribute._request_spans
WHERE end_ns > start_ns
