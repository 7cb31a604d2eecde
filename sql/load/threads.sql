-- Threads that made CUDA calls or opened NVTX ranges, or that nsys named.
-- Grain: global_tid.
-- materialize: table
-- requires: nsys.ThreadNames, nsys.NVTX_EVENTS, nsys.CUPTI_ACTIVITY_KIND_RUNTIME, load.strings
-- columns:
--   global_tid  BIGINT   nsys' identity of the thread: hardware, VM, pid and tid.
--   process_key BIGINT   Joins load.processes.
--   thread_id   BIGINT   Operating-system tid (its low 24 bits).
--   name        VARCHAR  Thread name, NULL where nsys did not say.
WITH seen AS (
    SELECT globalTid AS global_tid FROM nsys.ThreadNames
    UNION SELECT globalTid FROM nsys.NVTX_EVENTS
    UNION SELECT globalTid FROM nsys.CUPTI_ACTIVITY_KIND_RUNTIME
),
named AS (
    SELECT t.globalTid AS global_tid, arg_max(s.value, (t.priority, s.value)) AS name
    FROM nsys.ThreadNames AS t JOIN load.strings AS s ON s.string_id = t.nameId
    GROUP BY t.globalTid
)
SELECT global_tid, global_tid >> 24 AS process_key, global_tid & 16777215 AS thread_id, name
FROM seen LEFT JOIN named USING (global_tid)
WHERE global_tid IS NOT NULL
