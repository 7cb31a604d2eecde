-- Measured time of threads as intervals of the GPU.
-- Grain: group_id, start_ns and thread.
-- requires: attribute._thread_windows
-- columns:
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT device_id AS group_id, start_ns, end_ns FROM attribute._thread_windows
