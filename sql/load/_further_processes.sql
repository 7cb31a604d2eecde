-- Processes with events, but for the first: what is about several processes is empty without.
-- Grain: process_key.
-- requires: load.processes
-- columns:
--   process_key BIGINT  Joins load.processes.
SELECT process_key
FROM load.processes
WHERE has_events
QUALIFY row_number() OVER (ORDER BY process_key) > 1
