-- Idle time of each GPU that an operation ends, where one slot holds all of it, and the launching call was entered before the
-- operation started: nearly all gaps are such.
-- Grain: device_id, start_ns.
-- requires: attribute._device_order, attribute._window_slots
-- columns:
--   device_id       BIGINT  Joins load.devices.
--   slot            BIGINT  Joins attribute._window_slots.
--   start_ns        BIGINT  End of the work before. Unit: ns.
--   end_ns          BIGINT  Start of the operation that ends it. Unit: ns.
--   occurrence_id   BIGINT  Phase of that operation. Joins attribute.phase_ranges.
--   global_tid      BIGINT  Thread that launched it. Joins load.threads.
--   launch_start_ns BIGINT  Entry of the launching call, NULL for an unknown one. Unit: ns.
--   launch_end_ns   BIGINT  Its return. Unit: ns.
SELECT
    o.device_id, o.slot, o.gap_start_ns AS start_ns, o.start_ns AS end_ns, o.occurrence_id, o.global_tid, o.launch_start_ns,
    o.launch_end_ns
FROM attribute._device_order AS o
JOIN attribute._window_slots AS s ON s.device_id = o.device_id AND s.slot = o.slot
WHERE o.gap_start_ns >= s.start_ns AND s.end_ns IS NOT NULL AND o.end_ns IS NOT NULL
    AND (o.launch_start_ns IS NULL OR o.launch_start_ns <= o.start_ns)
