-- What each view of a gap says of the idle time in each slot: phase and class, as in attribute._idle_slots. The phase of a
-- tail is the one open on the thread.
-- Algorithm: between two instants at which a call, a slot or a stretch of a phase starts or ends nothing changes.
-- Grain: view_id, slot, occurrence_id, class.
-- materialize: table
-- requires: attribute._cut_gap_views, attribute._cut_gap_calls, attribute._cut_gaps, attribute._window_slots, attribute._phase_segments, attribute.phase_ranges, input.overlay_segments
-- columns:
--   view_id       BIGINT   Joins attribute._cut_gap_views.
--   slot          UINTEGER Joins attribute._window_slots.
--   occurrence_id BIGINT   Joins attribute.phase_ranges, NULL outside every phase.
--   class         VARCHAR  'launch', 'latency', 'sync', 'api' or 'host'.
--   time_ns       BIGINT   Unit: ns.
WITH slot_gap AS (
    SELECT g.gap_id, s.start_ns AS at_ns
    FROM attribute._window_slots AS s
    ASOF JOIN attribute._cut_gaps AS g ON g.device_id = s.device_id AND g.start_ns <= s.start_ns
    WHERE s.start_ns < g.end_ns
),
segment AS (
    SELECT s.global_tid, s.start_ns, u.device_id
    FROM (
        SELECT global_tid, start_ns FROM attribute._phase_segments
        UNION
        SELECT global_tid, start_ns FROM input.overlay_segments
    ) AS s
    JOIN (SELECT DISTINCT global_tid, device_id FROM attribute._cut_gap_views WHERE is_tail) AS u USING (global_tid)
),
bound AS (
    SELECT view_id, unnest([start_ns, end_ns, launch_start_ns, launch_end_ns]) AS at_ns FROM attribute._cut_gap_views
    UNION
    SELECT view_id, unnest([start_ns, end_ns]) FROM attribute._cut_gap_calls
    UNION
    SELECT v.view_id, s.at_ns FROM slot_gap AS s JOIN attribute._cut_gap_views AS v USING (gap_id)
    UNION
    SELECT v.view_id, s.start_ns
    FROM segment AS s
    ASOF JOIN (SELECT * FROM attribute._cut_gap_views WHERE is_tail) AS v
        ON v.global_tid = s.global_tid AND v.device_id = s.device_id AND v.start_ns < s.start_ns
    WHERE s.start_ns < v.end_ns
),
stretch AS (
    SELECT
        v.view_id, v.device_id, v.is_tail, v.global_tid, v.occurrence_id, v.launch_start_ns, v.launch_end_ns,
        b.at_ns AS start_ns, lead(b.at_ns) OVER (PARTITION BY v.view_id ORDER BY b.at_ns) AS end_ns
    FROM attribute._cut_gap_views AS v JOIN bound AS b USING (view_id)
    WHERE b.at_ns BETWEEN v.start_ns AND v.end_ns
),
stated AS (
    SELECT
        p.view_id, s.slot,
        CASE WHEN p.is_tail THEN coalesce(q.occurrence_id, o.occurrence_id) ELSE p.occurrence_id END AS occurrence_id,
        CASE
            WHEN p.start_ns >= p.launch_end_ns THEN 'latency'
            WHEN p.start_ns >= p.launch_start_ns THEN 'launch'
            WHEN c.end_ns > p.start_ns THEN CASE c.kind WHEN 0 THEN 'launch' WHEN 1 THEN 'sync' ELSE 'api' END
            ELSE 'host'
        END AS class,
        p.end_ns - p.start_ns AS time_ns
    FROM stretch AS p
    ASOF JOIN attribute._window_slots AS s ON s.device_id = p.device_id AND s.start_ns <= p.start_ns
    ASOF LEFT JOIN attribute._cut_gap_calls AS c ON c.view_id = p.view_id AND c.start_ns <= p.start_ns
    ASOF LEFT JOIN attribute._phase_segments AS f ON f.global_tid = p.global_tid AND f.start_ns <= p.start_ns
    ASOF LEFT JOIN input.overlay_segments AS o ON o.global_tid = p.global_tid AND o.start_ns <= p.start_ns
    -- A range that only groups phases may be none itself.
    LEFT JOIN attribute.phase_ranges AS q ON q.occurrence_id = f.occurrence_id
    WHERE p.end_ns IS NOT NULL
)
SELECT view_id, slot, occurrence_id, class, sum(time_ns)::BIGINT AS time_ns
FROM stated
GROUP BY view_id, slot, occurrence_id, class
