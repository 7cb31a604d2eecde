-- What nsys did itself on threads of the program: setting up, allocating and flushing its buffers, hooking into libraries.
-- One may lie inside another.
-- Grain: row of the export.
-- empty without: nsys.PROFILER_OVERHEAD
-- requires: nsys.PROFILER_OVERHEAD
-- columns:
--   global_tid BIGINT  The thread. Joins load.threads.
--   start_ns   BIGINT  Unit: ns.
--   end_ns     BIGINT  Unit: ns.
--   name_id    BIGINT  What it did. Joins load.strings.
SELECT globalTid AS global_tid, "start" AS start_ns, "end" AS end_ns, nameId AS name_id
FROM nsys.PROFILER_OVERHEAD
WHERE "end" > "start"
