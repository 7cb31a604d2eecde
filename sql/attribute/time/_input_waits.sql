-- Time before the first passes of training steps, on the GPUs of ranks that share theirs with no other rank.
-- Grain: one row per step and GPU.
-- requires: attribute.training_step_spans, attribute._lone_devices
-- columns:
--   group_id BIGINT  The GPU.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT a.device_id AS group_id, s.start_ns, s.first_pass_ns AS end_ns
FROM attribute.training_step_spans AS s JOIN attribute._lone_devices AS a USING (process_key)
WHERE s.first_pass_ns > s.start_ns
