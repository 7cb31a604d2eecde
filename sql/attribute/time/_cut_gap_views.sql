-- The threads that say why a GPU was idle in a gap of attribute._cut_gaps: the one that launched the operation at its end,
-- and, for a window that closes before, each thread whose range closes in the gap.
-- Grain: view_id.
-- materialize: table
-- requires: attribute._cut_gaps, attribute._window_ranges
-- columns:
--   view_id         BIGINT   Number of the view of a gap.
--   gap_id          BIGINT   Joins attribute._cut_gaps.
--   device_id       BIGINT   Joins load.devices.
--   is_tail         BOOLEAN  Whether the window closes before the gap ends.
--   global_tid      BIGINT   The thread, NULL for an unknown one. Joins load.threads.
--   start_ns        BIGINT   Start of the gap. Unit: ns.
--   end_ns          BIGINT   End of what it says: of the gap, or the last time that a range of it closes in the gap. Unit: ns.
--   occurrence_id   BIGINT   Phase of the operation at the end, NULL for a tail. Joins attribute.phase_ranges.
--   launch_start_ns BIGINT   Entry of the launching call, NULL for a tail and for an unknown one. Unit: ns.
--   launch_end_ns   BIGINT   Its return. Unit: ns.
WITH cut AS (
    SELECT device_id, global_tid, start_ns AS at_ns FROM attribute._window_ranges
    UNION
    SELECT device_id, global_tid, until_ns FROM attribute._window_ranges
),
closed AS (
    SELECT g.gap_id, g.device_id, c.global_tid, g.start_ns, max(c.at_ns) AS end_ns
    FROM cut AS c
    ASOF JOIN attribute._cut_gaps AS g ON g.device_id = c.device_id AND g.start_ns < c.at_ns
    WHERE c.at_ns <= g.end_ns
    GROUP BY g.gap_id, g.device_id, c.global_tid, g.start_ns
),
viewed AS (
    SELECT
        gap_id, device_id, false AS is_tail, global_tid, start_ns, end_ns, occurrence_id, launch_start_ns, launch_end_ns
    FROM attribute._cut_gaps
    WHERE is_ended
    UNION ALL
    SELECT gap_id, device_id, true, global_tid, start_ns, end_ns, NULL, NULL, NULL FROM closed
)
SELECT
    row_number() OVER () AS view_id, gap_id, device_id, is_tail, global_tid, start_ns, end_ns, occurrence_id, launch_start_ns,
    launch_end_ns
FROM viewed
