-- The part of each gap of attribute._plain_gaps before the call that launched the operation at its end was entered.
-- Grain: lane, start_ns.
-- materialize: temporary
-- requires: attribute._device_order, attribute._window_slots, attribute._launch_lanes
-- columns:
--   lane          UINTEGER  Joins attribute._launch_lanes.
--   start_ns      BIGINT    End of the work before. Unit: ns.
--   end_ns        BIGINT    Entry of the launching call. Unit: ns.
--   slot          UINTEGER  Joins attribute._window_slots.
--   occurrence_id BIGINT    Phase of the operation. Joins attribute.phase_ranges.
SELECT l.lane, o.reach_ns AS start_ns, o.launch_start_ns AS end_ns, o.slot, o.occurrence_id
FROM attribute._device_order AS o
JOIN attribute._window_slots AS s ON s.device_id = o.device_id AND s.slot = o.slot
JOIN attribute._launch_lanes AS l ON l.device_id = o.device_id AND l.global_tid = o.global_tid
WHERE o.reach_ns < o.launch_start_ns AND o.launch_start_ns <= o.start_ns AND o.reach_ns >= s.start_ns
    AND s.end_ns IS NOT NULL AND o.end_ns IS NOT NULL
