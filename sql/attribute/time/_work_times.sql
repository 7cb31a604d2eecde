-- GPU work in time.
-- Grain: op_id.
-- requires: attribute.gpu_work
-- columns:
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT coalesce(device_id, 0) AS group_id, start_ns, end_ns FROM attribute.gpu_work WHERE end_ns > start_ns
