-- Operations of each GPU in the order of their starts, with the time that each has for itself.
-- Algorithm: let `reach` be the latest end of all that started before. The GPU is idle from there to a later start, and of
-- the running operations this one is the first that started from max(start, reach) to its end. Slots are counted on the way.
-- All GPUs are swept at once, one after the other: 2^64 x GPU lifts the ends of each over all of those before, and what is
-- left of an end of another GPU does not fit 64 bits.
-- All is sorted once, and the windows have no order of their own: DuckDB streams the sorted rows through them, which takes
-- half the time of windows that sort.
-- Grain: one row per operation that takes time, and one last row per GPU, which ends the idle time after all work.
-- materialize: temporary
-- requires: attribute.kernel_families, attribute.gpu_work, attribute._window_slots
-- columns:
--   device_id       BIGINT    Joins load.devices.
--   slot            UINTEGER  Slot of its start, NULL before the first of its GPU. Joins attribute._window_slots.
--   reach_ns        BIGINT    Latest end of what started before it; without any, start of the first slot. Unit: ns.
--   start_ns        BIGINT    Start on the GPU. Unit: ns.
--   end_ns          BIGINT    End on the GPU, NULL in the last row. Unit: ns.
--   rank            UTINYINT  2 kernel that does not communicate, or whole graph; 1 kernel that communicates; 0 copy, fill.
--   occurrence_id   BIGINT    The phase it belongs to. Joins attribute.phase_ranges.
--   global_tid      BIGINT    The launching thread. Joins load.threads.
--   launch_start_ns BIGINT    Entry of the launching call. Unit: ns.
--   launch_end_ns   BIGINT    Return of the launching call, not before its entry. Unit: ns.
--   is_in_order     BOOLEAN   Whether it was launched no earlier than the operation before it; NULL if that is not known.
--   is_plain        BOOLEAN   Whether it computes, starts while nothing runs, and ends in the slot in which it starts.
--   is_gap_plain    BOOLEAN   Whether the GPU is idle before it for a time in one slot, and its call, if known, was entered
--                             before it started; NULL if the GPU is not idle then, or in no slot.
WITH communication AS (
    SELECT name_id, full_name_id FROM attribute.kernel_families WHERE family = 'communication'
),
gpu AS (
    SELECT device_id, min(start_ns) AS start_ns, max(start_ns) AS end_ns FROM attribute._window_slots GROUP BY device_id
),
event AS (
    SELECT
        coalesce(w.device_id, 0)::UINTEGER AS device_id, w.start_ns AS at_ns, w.op_id AS at_order, w.end_ns,
        CASE
            WHEN w.kind IN ('memcpy', 'memset') THEN 0
            WHEN (w.name_id, w.full_name_id) IN (SELECT (name_id, full_name_id) FROM communication) THEN 1
            ELSE 2
        END::UTINYINT AS rank,
        w.occurrence_id, w.global_tid, w.launch_start_ns, greatest(w.launch_start_ns, w.launch_end_ns) AS launch_end_ns
    FROM attribute.gpu_work AS w
    WHERE w.end_ns > w.start_ns
    UNION ALL
    SELECT device_id::UINTEGER, start_ns, -1, NULL, NULL, NULL, NULL, NULL, NULL FROM attribute._window_slots
    UNION ALL
    SELECT device_id::UINTEGER, end_ns, 9223372036854775807, NULL, NULL, NULL, NULL, NULL, NULL FROM gpu
),
swept AS (
    SELECT
        device_id, at_ns, at_order, end_ns, rank, occurrence_id, global_tid, launch_start_ns, launch_end_ns,
        max((device_id::HUGEINT << 64) + end_ns) OVER running AS reached,
        lag(device_id) OVER () AS device_before, lag(launch_start_ns) OVER () AS launch_before_ns,
        count(CASE WHEN at_order < 0 THEN 1 END) OVER running AS slot
    FROM (SELECT * FROM event ORDER BY device_id, at_ns, at_order)
    WINDOW running AS (ROWS UNBOUNDED PRECEDING)
),
reach AS (
    SELECT *, TRY_CAST(lag(reached) OVER () - (device_id::HUGEINT << 64) AS BIGINT) AS reach_ns FROM swept
),
placed AS (
    SELECT
        r.* EXCLUDE (slot, reach_ns), s.slot, coalesce(r.reach_ns, g.start_ns) AS reach_ns, s.start_ns AS slot_start_ns,
        s.end_ns AS slot_end_ns
    FROM reach AS r
    JOIN gpu AS g ON g.device_id = r.device_id
    LEFT JOIN attribute._window_slots AS s ON s.slot = r.slot AND s.device_id = r.device_id
    WHERE r.at_order >= 0
)
SELECT
    device_id::BIGINT AS device_id, slot, reach_ns, at_ns AS start_ns, end_ns, rank, occurrence_id, global_tid, launch_start_ns,
    launch_end_ns,
    CASE WHEN device_before = device_id THEN launch_start_ns >= launch_before_ns END AS is_in_order,
    rank = 2 AND reach_ns <= at_ns AND slot IS NOT NULL AND coalesce(end_ns <= slot_end_ns, true) AS is_plain,
    CASE
        WHEN reach_ns < at_ns AND (reach_ns < slot_start_ns OR slot_end_ns IS NOT NULL)
            THEN reach_ns >= slot_start_ns AND coalesce(launch_start_ns <= at_ns, true)
    END AS is_gap_plain
FROM placed
