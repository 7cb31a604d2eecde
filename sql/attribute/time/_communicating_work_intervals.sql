-- GPU work that does not communicate, in occurrences in which some kernels do, as intervals of its occurrence and GPU.
-- Grain: one row per operation.
-- requires: attribute.gpu_work, attribute._communication
-- columns:
--   group_id BIGINT  1024 × occurrence + GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT w.occurrence_id * 1024 + (coalesce(w.device_id, 0) & 1023) AS group_id, w.start_ns, w.end_ns
FROM attribute.gpu_work AS w
SEMI JOIN attribute._communication AS o ON o.occurrence_id = w.occurrence_id
ANTI JOIN attribute._communication AS c ON c.op_id = w.op_id
