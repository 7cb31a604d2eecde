-- Processes that nsys names or that recorded anything; it names every process of the machine in some captures.
-- Grain: process_key.
-- materialize: table
-- requires: nsys.PROCESSES, nsys.NVTX_EVENTS, nsys.CUPTI_ACTIVITY_KIND_RUNTIME, nsys.CUPTI_ACTIVITY_KIND_KERNEL, nsys.CUPTI_ACTIVITY_KIND_MEMCPY, nsys.CUPTI_ACTIVITY_KIND_MEMSET, nsys.CUPTI_ACTIVITY_KIND_GRAPH_TRACE
-- columns:
--   process_key  BIGINT   globalPid >> 24: hardware, VM and pid. Two traces' keys may clash; within one they do not.
--   process_id   BIGINT   Operating-system pid.
--   name         VARCHAR  Executable, NULL where nsys did not say.
--   has_api_call BOOLEAN  Whether CUDA calls of the process were recorded.
--   has_events   BOOLEAN  Whether ranges, calls or GPU work of the process were recorded.
WITH seen AS (
    SELECT globalPid >> 24 AS process_key, false AS has_api_call, false AS has_events FROM nsys.PROCESSES
    UNION SELECT globalTid >> 24, false, true FROM nsys.NVTX_EVENTS
    UNION SELECT globalTid >> 24, true, true FROM nsys.CUPTI_ACTIVITY_KIND_RUNTIME
    UNION SELECT globalPid >> 24, false, true FROM nsys.CUPTI_ACTIVITY_KIND_KERNEL
    UNION SELECT globalPid >> 24, false, true FROM nsys.CUPTI_ACTIVITY_KIND_MEMCPY
    UNION SELECT globalPid >> 24, false, true FROM nsys.CUPTI_ACTIVITY_KIND_MEMSET
    UNION SELECT globalPid >> 24, false, true FROM nsys.CUPTI_ACTIVITY_KIND_GRAPH_TRACE
)
SELECT
    process_key,
    process_key & 16777215 AS process_id,
    arg_max(named.name, named.row_id) AS name,
    bool_or(has_api_call) AS has_api_call,
    bool_or(has_events) AS has_events
FROM seen
LEFT JOIN (SELECT globalPid >> 24 AS process_key, name, row_id FROM nsys.PROCESSES) AS named USING (process_key)
WHERE process_key IS NOT NULL
GROUP BY process_key
