-- Spans of a lane that start in the same stretch of time become one, so that a lane has at most one span for each stretch.
-- Spans longer than a stretch keep their place, for at most one starts in each.
-- Grain: lane, start_ns.
-- params: spans, width_ns
-- requires:
-- columns:
--   lane       ANY     Copied from `spans`, which has lane, start_ns, end_ns, name, category and phase.
--   start_ns   BIGINT  Start of the first. Unit: ns.
--   end_ns     BIGINT  End of the last. Unit: ns.
--   name       ANY     Name of the longest, the first of those of one length.
--   category   ANY     Its category.
--   phase      ANY     Its phase.
--   span_count BIGINT  Spans that became this one.
SELECT
    lane, min(start_ns) AS start_ns, max(end_ns) AS end_ns, arg_max(name, longest) AS name, arg_max(category, longest) AS category,
    arg_max(phase, longest) AS phase, count(*) AS span_count
-- By length, then by start: one number, 2^64 x length - start, is compared in half the time of two.
FROM (SELECT *, (end_ns - start_ns) * 18446744073709551616::HUGEINT - start_ns AS longest FROM query_table(spans))
GROUP BY lane, start_ns // width_ns
