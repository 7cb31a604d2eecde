-- The one process that made CUDA calls, for exports whose GPU rows do not say whose they are.
-- Grain: at most one row; none where several processes made calls.
-- requires: load.processes
-- columns:
--   process_key BIGINT  Joins load.processes.
SELECT min(process_key) AS process_key FROM load.processes WHERE has_api_call HAVING count(*) = 1
