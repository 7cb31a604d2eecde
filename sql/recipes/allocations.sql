-- Does memory get allocated while the model runs?
-- cudaMalloc and cudaFree may wait for the GPU; a caching allocator should leave none of them in decode.
-- columns:
--   phase   VARCHAR  Phase in which the call is made, or NULL.
--   name    VARCHAR  Call.
--   count   BIGINT   Calls.
--   time_ns BIGINT   Time inside them. Unit: ns.
--   max_ns  BIGINT   Longest. Unit: ns.
SELECT phase, name, count(*) AS "count", sum(dur_ns)::BIGINT AS time_ns, max(dur_ns) AS max_ns
FROM api_calls
WHERE regexp_matches(name, '^(cu(da)?|hip)(Malloc|HostMalloc|Free|MemAlloc|MemFree|MemCreate|MemMap|MemUnmap|HostAlloc|HostRegister|MemHostAlloc)')
GROUP BY phase, name
ORDER BY phase NULLS LAST, time_ns DESC, name
