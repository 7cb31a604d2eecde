-- Operations of each GPU in the order of their starts, with the time that each has for itself.
-- Algorithm: let `reach` be the latest end of all that started before. The GPU is idle from there to a later start, and of
-- the running operations this one is the first that started from max(start, reach) to its end. Slots are counted on the way.
-- All GPUs are swept at once, one after the other, which takes a third of the time of a window for each: 2^64 x GPU lifts
-- the ends of each over all of those before, and what is left of an end of another GPU does not fit 64 bits.
-- Grain: one row per operation that takes time, and one last row per GPU, which ends the idle time after all work.
-- materialize: temporary
-- requires: attribute.kernel_families, attribute.gpu_work, attribute._window_slots
-- columns:
--   device_id       BIGINT    Joins load.devices.
--   slot            UINTEGER  Slot of its start. Joins attribute._window_slots, but before the first of its GPU.
--   reach_ns        BIGINT    Latest end of what started before it; without any, start of the first slot. Unit: ns.
--   start_ns        BIGINT    Start on the GPU. Unit: ns.
--   end_ns          BIGINT    End on the GPU, NULL in the last row. Unit: ns.
--   rank            UTINYINT  2 kernel that does not communicate, or whole graph; 1 kernel that communicates; 0 copy, fill.
--   occurrence_id   BIGINT    The phase it belongs to. Joins attribute.phase_ranges.
--   global_tid      BIGINT    The launching thread. Joins load.threads.
--   launch_start_ns BIGINT    Entry of the launching call. Unit: ns.
--   launch_end_ns   BIGINT    Return of the launching call, not before its entry. Unit: ns.
--   is_in_order     BOOLEAN   Whether it was launched no earlier than the operation before it; NULL if that is not known.
WITH communication AS (
    SELECT name_id, full_name_id FROM attribute.kernel_families WHERE family = 'communication'
),
first_slot AS (
    SELECT device_id, min(start_ns) AS start_ns, max(start_ns) AS end_ns FROM attribute._window_slots GROUP BY device_id
),
event AS (
    SELECT
        coalesce(w.device_id, 0) AS device_id, w.start_ns AS at_ns, 1::UTINYINT AS at_order, w.op_id, w.end_ns,
        CASE
            WHEN w.kind IN ('memcpy', 'memset') THEN 0
            WHEN (w.name_id, w.full_name_id) IN (SELECT (name_id, full_name_id) FROM communication) THEN 1
            ELSE 2
        END::UTINYINT AS rank,
        w.occurrence_id, w.global_tid, w.launch_start_ns, greatest(w.launch_start_ns, w.launch_end_ns) AS launch_end_ns,
        NULL::UINTEGER AS slot
    FROM attribute.gpu_work AS w
    WHERE w.end_ns > w.start_ns
    UNION ALL
    SELECT device_id, start_ns, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, slot FROM attribute._window_slots
    UNION ALL
    SELECT device_id, end_ns, 2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM first_slot
),
swept AS (
    SELECT
        * EXCLUDE (slot),
        max((device_id::HUGEINT << 64) + end_ns) OVER (sweep ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
            - (device_id::HUGEINT << 64) AS reach_ns,
        CASE WHEN lag(device_id) OVER sweep = device_id THEN launch_start_ns >= lag(launch_start_ns) OVER sweep END
            AS is_in_order,
        coalesce(max(slot) OVER (sweep ROWS UNBOUNDED PRECEDING), 0) AS slot
    FROM event
    WINDOW sweep AS (ORDER BY device_id, at_ns, at_order, op_id)
)
SELECT
    s.device_id, s.slot, coalesce(TRY_CAST(s.reach_ns AS BIGINT), f.start_ns) AS reach_ns, s.at_ns AS start_ns, s.end_ns, s.rank,
    s.occurrence_id, s.global_tid, s.launch_start_ns, s.launch_end_ns, s.is_in_order
FROM swept AS s JOIN first_slot AS f USING (device_id)
WHERE s.at_order > 0
