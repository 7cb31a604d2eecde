-- The window of each GPU by occurrence of a phase and class: every ns of it once.
-- Grain: device_id, occurrence_id, class.
-- materialize: table
-- requires: attribute._slot_times
-- columns:
--   device_id     BIGINT   Joins load.devices.
--   occurrence_id BIGINT   Joins attribute.phase_ranges, NULL outside every phase.
--   class         VARCHAR  'compute', 'transfer', 'wait', 'copy', 'launch', 'latency', 'sync', 'api' or 'host'.
--   time_ns       BIGINT   Unit: ns.
SELECT device_id, occurrence_id, class, sum(time_ns)::BIGINT AS time_ns
FROM attribute._slot_times
GROUP BY device_id, occurrence_id, class
