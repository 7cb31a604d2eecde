-- All work of each GPU as intervals.
-- Grain: one row per operation.
-- requires: load.gpu_ops
-- columns:
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT device_id AS group_id, start_ns, end_ns FROM load.gpu_ops
