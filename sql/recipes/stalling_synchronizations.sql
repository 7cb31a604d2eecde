-- Which synchronizations stall the host?
-- Calls that wait for the GPU (queries such as cudaEventQuery do not), by phase and the range they are made in.
-- params:
--   top=20  Rows to show.
-- columns:
--   phase      VARCHAR  Phase in which the call is made, or NULL.
--   range_name VARCHAR  Innermost range around it.
--   name       VARCHAR  Call.
--   count      BIGINT   Calls.
--   time_ns    BIGINT   Time the host waited. Unit: ns.
--   max_ns     BIGINT   Longest wait. Unit: ns.
SELECT
    phase, range_name, name, count(*) AS "count", sum(dur_ns)::BIGINT AS time_ns, max(dur_ns) AS max_ns
FROM api_calls
WHERE regexp_matches(name, '^(cu|hip).*Synchronize|^(cu(da)?|hip)Memcpy') AND NOT contains(name, 'Async')
GROUP BY phase, range_name, name
ORDER BY time_ns DESC, phase, name, range_name
LIMIT $top
