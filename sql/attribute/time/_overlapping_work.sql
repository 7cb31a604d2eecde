-- Kernels that start while something else runs on their GPU, as intervals: by all that compute, and by all that compute or
-- communicate.
-- Grain: one row per operation and set.
-- materialize: temporary
-- requires: attribute._device_order
-- columns:
--   group_id BIGINT  2 × GPU for those that compute, + 1 for both.
--   start_ns BIGINT  Unit: ns.
--   end_ns   BIGINT  Unit: ns.
SELECT device_id * 2 AS group_id, start_ns, end_ns FROM attribute._device_order WHERE rank = 2 AND reach_ns > start_ns
UNION ALL
SELECT device_id * 2 + 1, start_ns, end_ns FROM attribute._device_order WHERE rank > 0 AND reach_ns > start_ns
