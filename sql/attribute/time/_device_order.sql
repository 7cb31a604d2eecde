-- Operations of each GPU in the order of their starts, with what each has for itself: the idle time that it ends, and the
-- time in which it is the one that started first of those running.
-- Algorithm: where `reach` is the latest end of all that started before, the GPU is idle from there to a later start, and
-- an operation is the first of those running from max(start, reach) on. Slots of time are counted on the way.
-- Grain: one row per operation that takes time, and one last row per GPU, which ends the idle time after all work.
-- materialize: temporary
-- requires: attribute.kernel_families, attribute.gpu_work, attribute._window_slots
-- columns:
--   device_id       BIGINT    Joins load.devices.
--   slot            BIGINT    Slot of its start, 0 before the first. Joins attribute._window_slots.
--   gap_start_ns    BIGINT    Start of the idle time before it, NULL without any. Unit: ns.
--   start_ns        BIGINT    Start on the GPU. Unit: ns.
--   first_ns        BIGINT    From then to its end it is the first of those running; its end or later where it never is.
--                             Unit: ns.
--   end_ns          BIGINT    End on the GPU, NULL in the last row. Unit: ns.
--   rank            UTINYINT  2 kernel that does not communicate, or whole graph; 1 kernel that communicates; 0 copy, fill.
--   occurrence_id   BIGINT    The phase it belongs to. Joins attribute.phase_ranges.
--   global_tid      BIGINT    The launching thread. Joins load.threads.
--   launch_start_ns BIGINT    Entry of the launching call. Unit: ns.
--   launch_end_ns   BIGINT    Return of the launching call, not before its entry. Unit: ns.
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
        w.occurrence_id, w.global_tid, w.launch_start_ns, greatest(w.launch_start_ns, w.launch_end_ns) AS launch_end_ns
    FROM attribute.gpu_work AS w
    WHERE w.end_ns > w.start_ns
    UNION ALL
    SELECT device_id, start_ns, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM attribute._window_slots
    UNION ALL
    SELECT device_id, end_ns, 2, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM first_slot
),
swept AS (
    SELECT
        *,
        max(end_ns) OVER (sweep ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reach_ns,
        (sum(CASE WHEN at_order = 0 THEN 1 ELSE 0 END) OVER (sweep ROWS UNBOUNDED PRECEDING))::BIGINT AS slot
    FROM event
    WINDOW sweep AS (PARTITION BY device_id ORDER BY at_ns, at_order, op_id)
)
SELECT
    s.device_id, s.slot,
    CASE WHEN s.at_ns > coalesce(s.reach_ns, f.start_ns) THEN coalesce(s.reach_ns, f.start_ns) END AS gap_start_ns,
    s.at_ns AS start_ns, greatest(s.at_ns, coalesce(s.reach_ns, s.at_ns)) AS first_ns, s.end_ns, s.rank, s.occurrence_id,
    s.global_tid, s.launch_start_ns, s.launch_end_ns
FROM swept AS s JOIN first_slot AS f USING (device_id)
WHERE s.at_order > 0
