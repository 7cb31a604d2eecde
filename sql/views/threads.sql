-- Threads that made CUDA calls or opened NVTX ranges, or that nsys named.
-- Grain: global_tid; process_id and thread_id where the trace is of one machine.
-- requires: load.threads
-- columns:
--   process_id BIGINT   Operating-system pid. Joins processes.
--   thread_id  BIGINT   Operating-system tid (its low 24 bits).
--   name       VARCHAR  Thread name, NULL where nsys did not say.
--   global_tid BIGINT   globalTid of the raw tables: hardware, VM, pid and tid.
SELECT process_key & 16777215 AS process_id, thread_id, name, global_tid FROM load.threads
