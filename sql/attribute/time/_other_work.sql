-- Operations of GPUs that communicate, without kernels that compute: communication itself, copies, fills and whole graphs.
-- Grain: one row per operation.
-- requires: attribute.gpu_work, attribute._communication
-- columns:
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT device_id AS group_id, start_ns, end_ns FROM attribute._communication
UNION ALL
SELECT w.device_id, w.start_ns, w.end_ns
FROM attribute.gpu_work AS w
SEMI JOIN attribute._communication AS c ON c.device_id = w.device_id
WHERE w.kind <> 'kernel'
