-- When each GPU was busy: its work with overlaps and neighbours merged into one interval each.
-- Grain: device_id, start_ns.
-- requires: macros.islands, views._device_intervals
-- columns:
--   device_id   BIGINT  GPU. Joins devices.
--   start_ns    BIGINT  Start of the busy interval. Unit: ns.
--   end_ns      BIGINT  End of the busy interval. Unit: ns.
--   dur_ns      BIGINT  end_ns - start_ns. Unit: ns.
--   op_count    BIGINT  Kernels, copies, fills and graphs in it.
--   idle_ns     BIGINT  Idle time since the GPU's busy interval before, NULL for the first. Unit: ns.
SELECT
    group_id AS device_id, start_ns, end_ns, end_ns - start_ns AS dur_ns, interval_count AS op_count,
    start_ns - lag(end_ns) OVER (PARTITION BY group_id ORDER BY start_ns) AS idle_ns
FROM macros.islands('views._device_intervals')
