-- The files that the trace is read from: one, or one for each rank of a job.
-- Grain: file_id, process_key.
-- materialize: table
-- requires: nsys.TRACE_FILES
-- columns:
--   file_id        BIGINT   1, 2, 3, ….
--   path           VARCHAR  Where it is, resolved.
--   rank           BIGINT   Rank that its name says, else NULL.
--   host_id        BIGINT   Host it was recorded on: 0 is the first file's. Told apart by the GPUs that they list.
--   process_key    BIGINT   A process of it with GPU work or ranges. Joins load.processes. NULL in a trace of one file.
--   clock_error_ns BIGINT   How far its times may be off those of the first file: 0 on the same host, NULL where nothing
--                           says. Unit: ns.
--   start_ns       BIGINT   When it begins. Unit: ns.
--   replica        BIGINT   Data-parallel replica that its name says, else NULL. Then `rank` counts over all replicas.
--   moved_ns       BIGINT   Part of it by which the clock of its host was moved to that of the first host. Unit: ns.
--   problem        VARCHAR  Why it was left out, NULL where it was not.
SELECT
    file_id, "path", rank, host_id, globalPid >> 24 AS process_key, clock_error_ns, start_ns, replica, moved_ns, problem
FROM nsys.TRACE_FILES
