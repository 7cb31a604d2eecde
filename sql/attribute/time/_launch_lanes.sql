-- Threads that launched work on a GPU.
-- Grain: lane.
-- materialize: table
-- requires: attribute._device_order
-- columns:
--   lane       UINTEGER  Number of the thread and GPU.
--   global_tid BIGINT    Joins load.threads.
--   device_id  BIGINT    Joins load.devices.
SELECT (row_number() OVER ())::UINTEGER AS lane, global_tid, device_id
FROM (SELECT DISTINCT global_tid, device_id FROM attribute._device_order WHERE launch_start_ns IS NOT NULL)
