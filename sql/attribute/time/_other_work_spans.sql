-- When something runs that is no kernel that computes, on GPUs that communicate: communication, copies, fills and whole graphs.
-- Grain: group_id, start_ns; spans of a GPU neither overlap nor touch.
-- materialize: table
-- empty without: attribute._communication
-- requires: attribute._other_work, macros.islands
-- columns:
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT group_id, start_ns, end_ns FROM macros.islands('attribute._other_work')
