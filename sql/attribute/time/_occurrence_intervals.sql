-- GPU work inside phases as intervals of its occurrence and GPU.
-- Grain: one row per operation.
-- requires: attribute.gpu_work, macros.is_timed
-- columns:
--   group_id BIGINT  1024 × occurrence + GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT occurrence_id * 1024 + (coalesce(device_id, 0) & 1023) AS group_id, start_ns, end_ns
FROM attribute.gpu_work
-- Work without times, from 0 to 0, is in no gap.
WHERE occurrence_id IS NOT NULL AND macros.is_timed(start_ns, end_ns)
