-- When each GPU is busy with each phase, warm-up left out.
-- Grain: lane, group_id, start_ns; empty where the capture sampled no counters.
-- materialize: table
-- empty without: load.counter_samples
-- requires: macros.islands, attribute._measured_work_intervals
-- columns:
--   lane     BIGINT   GPU. Joins load.devices on device_id.
--   group_id VARCHAR  The phase.
--   start_ns BIGINT   Unit: ns.
--   end_ns   BIGINT   Unit: ns.
SELECT group_id.lane AS lane, group_id.phase AS group_id, start_ns, end_ns
FROM macros.islands('attribute._measured_work_intervals')
