-- All work of each GPU as intervals. Work without times, from 0 to 0, is in none.
-- Grain: one row per operation.
-- requires: load.gpu_ops, macros.is_timed
-- columns:
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT device_id AS group_id, start_ns, end_ns FROM load.gpu_ops
WHERE macros.is_timed(start_ns, end_ns)
