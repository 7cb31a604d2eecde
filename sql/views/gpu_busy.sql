-- When each GPU was busy: its work with overlaps and neighbours merged into one interval each.
-- Grain: device_id, start_ns.
-- requires: macros.islands, load.gpu_ops, macros.is_timed
-- columns:
--   device_id   BIGINT  GPU. Joins devices.
--   start_ns    BIGINT  Start of the busy interval. Unit: ns.
--   end_ns      BIGINT  End of the busy interval. Unit: ns.
--   dur_ns      BIGINT  end_ns - start_ns. Unit: ns.
--   op_count    BIGINT  Kernels, copies, fills and graphs in it.
--   idle_ns     BIGINT  Idle time since the GPU's busy interval before, NULL for the first. Unit: ns.
WITH work AS (
    SELECT device_id AS group_id, start_ns, end_ns FROM load.gpu_ops
    WHERE macros.is_timed(start_ns, end_ns)
)
SELECT
    group_id AS device_id, start_ns, end_ns, end_ns - start_ns AS dur_ns, interval_count AS op_count,
    start_ns - lag(end_ns) OVER (PARTITION BY group_id ORDER BY start_ns) AS idle_ns
FROM macros.islands('work')
