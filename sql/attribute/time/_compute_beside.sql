-- Kernels that do not communicate, on GPUs on which others do.
-- Grain: one row per kernel.
-- requires: attribute.gpu_work, attribute.kernel_families, attribute._communication
-- columns:
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT w.device_id AS group_id, w.start_ns, w.end_ns
FROM attribute.gpu_work AS w
JOIN attribute.kernel_families AS f
    ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id AND f.family <> 'communication'
SEMI JOIN attribute._communication AS c ON c.device_id = w.device_id
WHERE w.kind = 'kernel'
