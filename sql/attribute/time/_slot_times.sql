-- The window of each GPU by slot, occurrence of a phase and class: every ns of it once.
-- Grain: device_id, slot, occurrence_id, class.
-- materialize: table
-- requires: attribute.windows, attribute._thread_windows, attribute._window_slots, attribute._busy_slots, attribute._idle_slots, attribute._cut_gaps, attribute._cut_gap_views, attribute._cut_gap_slots
-- columns:
--   device_id     BIGINT   Joins load.devices.
--   slot          UINTEGER Joins attribute._window_slots.
--   occurrence_id BIGINT   Joins attribute.phase_ranges, NULL outside every phase.
--   class         VARCHAR  'compute', 'transfer', 'wait', 'copy', 'launch', 'latency', 'sync', 'api' or 'host'.
--   time_ns       BIGINT   Unit: ns.
WITH measured AS (
    SELECT s.device_id, s.slot, s.start_ns, w.end_ns AS window_end_ns
    FROM attribute._window_slots AS s
    ASOF JOIN attribute.windows AS w ON w.device_id = s.device_id AND w.start_ns <= s.start_ns
    WHERE w.end_ns > s.start_ns
),
viewed AS (
    SELECT
        v.view_id, v.gap_id, v.device_id, v.is_tail, v.global_tid, m.slot, m.start_ns,
        g.is_ended AND m.window_end_ns > g.end_ns AS is_ended
    FROM attribute._cut_gap_views AS v
    JOIN attribute._cut_gaps AS g USING (gap_id)
    JOIN (SELECT DISTINCT view_id, slot FROM attribute._cut_gap_slots) AS c USING (view_id)
    JOIN measured AS m ON m.device_id = v.device_id AND m.slot = c.slot
),
tail AS (
    SELECT v.gap_id, v.slot, arg_min(v.view_id, v.global_tid) AS view_id
    FROM viewed AS v
    ASOF JOIN attribute._thread_windows AS t
        ON t.device_id = v.device_id AND t.global_tid = v.global_tid AND t.start_ns <= v.start_ns
    WHERE v.is_tail AND NOT v.is_ended AND t.end_ns > v.start_ns
    GROUP BY v.gap_id, v.slot
),
chosen AS (
    SELECT view_id, slot FROM viewed WHERE is_ended AND NOT is_tail
    UNION ALL
    SELECT view_id, slot FROM tail
),
timed AS (
    SELECT b.device_id, b.slot, b.occurrence_id, b.class, b.time_ns
    FROM attribute._busy_slots AS b JOIN measured AS m ON m.device_id = b.device_id AND m.slot = b.slot
    UNION ALL
    SELECT i.device_id, i.slot, i.occurrence_id, i.class, i.time_ns
    FROM attribute._idle_slots AS i JOIN measured AS m ON m.device_id = i.device_id AND m.slot = i.slot
    UNION ALL
    SELECT v.device_id, c.slot, c.occurrence_id, c.class, c.time_ns
    FROM attribute._cut_gap_slots AS c
    JOIN chosen USING (view_id, slot)
    JOIN attribute._cut_gap_views AS v USING (view_id)
)
SELECT device_id, slot, occurrence_id, class, sum(time_ns)::BIGINT AS time_ns
FROM timed
GROUP BY device_id, slot, occurrence_id, class
HAVING sum(time_ns) <> 0
