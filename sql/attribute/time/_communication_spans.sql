-- When kernels communicate, GPU by GPU.
-- Grain: span_id.
-- requires: attribute._communication
-- columns:
--   span_id  BIGINT  The kernel. Joins attribute.gpu_work on op_id.
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT op_id AS span_id, device_id AS group_id, start_ns, end_ns FROM attribute._communication
