-- What GPU work is in no phase, and why?
-- columns:
--   reason   VARCHAR  'no_api_call', 'no_range', 'no_phase' or 'several_phases_open'.
--   kind     VARCHAR  'kernel', 'memcpy', 'memset' or 'graph'.
--   range_name VARCHAR Innermost range around the launch, where there is one.
--   count    BIGINT   Operations.
--   time_ns  BIGINT   Sum of their durations. Unit: ns.
--   first_ns BIGINT   Start of the first, NULL where no times were recorded. Unit: ns.
SELECT
    reason, kind, range_name, count(*) AS "count", sum(dur_ns)::BIGINT AS time_ns, min(start_ns) FILTER (WHERE NOT (start_ns = end_ns AND start_ns <= 0)) AS first_ns
FROM gpu_work
WHERE phase IS NULL
GROUP BY reason, kind, range_name
ORDER BY time_ns DESC, reason, kind, range_name
