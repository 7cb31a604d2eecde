-- GPU work in time, by process.
-- Grain: op_id.
-- requires: attribute.gpu_work
-- columns:
--   group_id BIGINT  The process.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT process_key AS group_id, start_ns, end_ns FROM attribute.gpu_work WHERE end_ns > start_ns
