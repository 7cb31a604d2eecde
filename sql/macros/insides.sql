-- The insides of spans, as spans of the sweep: what starts in the instant in which one ends is not inside.
-- Grain: span_id; spans without an inside are absent.
-- params: spans
-- requires:
-- columns:
--   lane     BIGINT  Copied from `spans`, which has lane, sublane, span_id, start_ns and end_ns.
--   sublane  BIGINT  Copied from `spans`.
--   span_id  BIGINT  Copied from `spans`.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Last instant before its end. Unit: ns.
SELECT lane, sublane, span_id, start_ns, end_ns - 1 AS end_ns
FROM query_table(spans)
WHERE end_ns > start_ns
