-- How long each GPU was busy with each occurrence of a phase: overlapping work counts once.
-- Grain: occurrence_id, device_id.
-- materialize: table
-- requires: macros.busy_ns, attribute._occurrence_intervals
-- columns:
--   occurrence_id BIGINT  Joins attribute.phase_ranges.
--   device_id     BIGINT  Joins load.devices.
--   gpu_busy_ns   BIGINT  Length of the union of its work on this GPU. Unit: ns.
SELECT group_id // 1024 AS occurrence_id, group_id % 1024 AS device_id, busy_ns AS gpu_busy_ns
FROM macros.busy_ns('attribute._occurrence_intervals')
