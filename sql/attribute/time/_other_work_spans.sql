-- When something runs that is no kernel that computes, on GPUs that communicate: communication, copies, fills and whole graphs.
-- Grain: group_id, start_ns; spans of a GPU neither overlap nor touch.
-- materialize: table
-- empty without: attribute._communication
-- requires: attribute.gpu_work, attribute._communication, macros.islands
-- columns:
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
WITH other_work AS (
    SELECT device_id AS group_id, start_ns, end_ns FROM attribute._communication
    UNION ALL
    SELECT w.device_id, w.start_ns, w.end_ns
    FROM attribute.gpu_work AS w
    SEMI JOIN attribute._communication AS c ON c.device_id = w.device_id
    WHERE w.kind <> 'kernel'
)
SELECT group_id, start_ns, end_ns FROM macros.islands('other_work')
