-- Which CUDA calls does the host spend its time in?
-- params:
--   top=20  Rows to show.
-- columns:
--   phase   VARCHAR  Phase in which the call is made, or NULL.
--   name    VARCHAR  Call.
--   count   BIGINT   Calls.
--   time_ns BIGINT   Time inside them. Unit: ns.
--   mean_ns DOUBLE   Mean time. Unit: ns.
--   max_ns  BIGINT   Longest. Unit: ns.
SELECT
    phase, name, count(*) AS "count", sum(dur_ns)::BIGINT AS time_ns, avg(dur_ns) AS mean_ns, max(dur_ns) AS max_ns
FROM api_calls
GROUP BY phase, name
ORDER BY time_ns DESC, phase, name
LIMIT $top
