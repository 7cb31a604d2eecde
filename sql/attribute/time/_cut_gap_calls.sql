-- CUDA calls of the threads of attribute._cut_gap_views while the GPU is idle.
-- Algorithm: time is cut into slots of equal width. A call that is no longer than one overlaps a view only if it starts in
-- a slot of the view or in the one before, so that a hash join on thread and slot finds it; longer ones are in all slots
-- that they touch, and counted once.
-- Grain: view_id, start_ns.
-- materialize: table
-- requires: attribute._cut_gap_views, attribute._thread_calls
-- columns:
--   view_id  BIGINT    Joins attribute._cut_gap_views.
--   start_ns BIGINT    Entry. Unit: ns.
--   end_ns   BIGINT    Return. Unit: ns.
--   kind     UTINYINT  0 launches, 1 synchronizes, 2 neither.
WITH width AS (
    SELECT greatest(1000, max(end_ns) // 100000 - min(start_ns) // 100000)::BIGINT AS width_ns FROM attribute._cut_gap_views
),
slotted AS (
    SELECT
        view_id, global_tid, start_ns, end_ns,
        unnest(range(start_ns // width_ns - 1, end_ns // width_ns + 1)) AS slot
    FROM attribute._cut_gap_views CROSS JOIN width
    WHERE global_tid >= 0
),
-- Few calls are near a gap: the others are left out while all are read once.
near AS MATERIALIZED (
    SELECT global_tid, start_ns, end_ns, kind
    FROM attribute._thread_calls
    WHERE end_ns - start_ns > (SELECT width_ns FROM width)
        OR (global_tid, start_ns // (SELECT width_ns FROM width)) IN (SELECT (global_tid, slot) FROM slotted)
),
call AS (
    SELECT global_tid, start_ns, end_ns, kind, start_ns // width_ns AS slot
    FROM near CROSS JOIN width
    WHERE end_ns - start_ns <= width_ns
    UNION ALL
    SELECT global_tid, start_ns, end_ns, kind, unnest(range(start_ns // width_ns, end_ns // width_ns + 1))
    FROM near CROSS JOIN width
    WHERE end_ns - start_ns > width_ns
)
SELECT DISTINCT v.view_id, c.start_ns, c.end_ns, c.kind
FROM call AS c
JOIN slotted AS v ON v.global_tid = c.global_tid AND v.slot = c.slot
WHERE c.start_ns < v.end_ns AND c.end_ns > v.start_ns
