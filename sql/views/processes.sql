-- Processes that appear anywhere in the trace.
-- Grain: process_key; process_id alone where the trace is of one machine.
-- requires: load.processes
-- columns:
--   process_id   BIGINT   Operating-system pid.
--   name         VARCHAR  Executable, NULL where nsys did not say.
--   has_api_call BOOLEAN  Whether CUDA calls of the process were recorded.
--   process_key  BIGINT   globalPid >> 24 of the raw tables: hardware, VM and pid.
SELECT process_id, name, has_api_call, process_key FROM load.processes
