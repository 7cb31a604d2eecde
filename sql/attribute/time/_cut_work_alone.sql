-- When only work runs that the window of the analysis leaves out: the GPU is not idle then, and not at work on what counts.
-- Grain: group_id, start_ns.
-- materialize: table
-- empty without: input.cut_work
-- requires: input.cut_work, macros.exposed, attribute.gpu_work
-- columns:
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
WITH work AS (
    SELECT coalesce(device_id, 0) AS group_id, start_ns, end_ns FROM attribute.gpu_work WHERE end_ns > start_ns
)
SELECT group_id, start_ns, end_ns FROM macros.exposed('input.cut_work', 'work')
