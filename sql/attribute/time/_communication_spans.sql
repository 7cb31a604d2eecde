-- When kernels communicate, GPU by GPU.
-- Grain: one row per communication kernel.
-- requires: attribute._communication
-- columns:
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT device_id AS group_id, start_ns, end_ns FROM attribute._communication
