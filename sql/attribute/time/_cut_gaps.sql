-- Idle time of each GPU that needs a closer look: a window may close in it, no operation ends it, or the operation at its end
-- started before its call was entered.
-- Grain: gap_id.
-- materialize: table
-- requires: attribute._device_order
-- columns:
--   gap_id          BIGINT  Number of the gap.
--   device_id       BIGINT  Joins load.devices.
--   start_ns        BIGINT  End of the work before. Unit: ns.
--   end_ns          BIGINT  Start of the operation that ends it, or the end of the last slot. Unit: ns.
--   is_ended        BOOLEAN  Whether an operation ends it.
--   occurrence_id   BIGINT  Phase of that operation. Joins attribute.phase_ranges.
--   global_tid      BIGINT  Thread that launched it. Joins load.threads.
--   launch_start_ns BIGINT  Entry of the launching call, NULL for an unknown one. Unit: ns.
--   launch_end_ns   BIGINT  Its return. Unit: ns.
SELECT
    row_number() OVER () AS gap_id, device_id, reach_ns AS start_ns, start_ns AS end_ns, end_ns IS NOT NULL AS is_ended,
    occurrence_id, global_tid, launch_start_ns, launch_end_ns
FROM attribute._device_order
WHERE NOT is_gap_plain
