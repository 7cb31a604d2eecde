-- How long does loading of kernels take, and when?
-- CUDA loads a module when a kernel of it is first used: steps that do so are slower than the rest.
-- columns:
--   phase         VARCHAR  Phase in which the call is made, or NULL.
--   name          VARCHAR  Call.
--   count         BIGINT   Calls.
--   time_ns       BIGINT   Time inside them. Unit: ns.
--   first_ns      BIGINT   When the first was made. Unit: ns.
--   last_ns       BIGINT   When the last was made. Unit: ns.
SELECT
    phase, name, count(*) AS "count", sum(dur_ns)::BIGINT AS time_ns, min(start_ns) AS first_ns, max(start_ns) AS last_ns
FROM api_calls
WHERE regexp_matches(name, '(Module|Library)(Load|GetKernel|Unload|GetModule|GetFunction|GetGlobal)|KernelGetFunction')
GROUP BY phase, name
ORDER BY time_ns DESC, phase, name
