-- Disjoint stretches of each thread with the innermost range and the innermost phase that are open in them.
-- Grain: global_tid, start_ns; a stretch ends where the thread's next one starts.
-- materialize: table
-- requires: macros.innermost_segments, load.nvtx_ranges, attribute._phase_segments
-- columns:
--   global_tid    BIGINT  Thread.
--   start_ns      BIGINT  First instant. Unit: ns.
--   range_id      BIGINT  Innermost open push/pop range, NULL for none.
--   occurrence_id BIGINT  Innermost open push/pop phase, NULL for none.
WITH open_range AS (
    SELECT global_tid AS lane, domain_id AS sublane, range_id AS span_id, start_ns, end_ns
    FROM load.nvtx_ranges
    WHERE kind = 'push_pop'
),
segment AS MATERIALIZED (
    SELECT lane, start_ns, span_id FROM macros.innermost_segments('open_range')
),
-- A phase may end in the very nanosecond in which the next range of its thread starts: both hold that instant, so the phase
-- changes one later than the range does.
boundary AS (
    SELECT lane, start_ns, span_id FROM segment
    UNION ALL
    SELECT p.global_tid, p.start_ns, s.span_id
    FROM (
        SELECT p.global_tid, p.start_ns
        FROM attribute._phase_segments AS p
        ANTI JOIN segment AS s ON s.lane = p.global_tid AND s.start_ns = p.start_ns
    ) AS p
    ASOF LEFT JOIN segment AS s ON s.lane = p.global_tid AND s.start_ns <= p.start_ns
)
SELECT s.lane AS global_tid, s.start_ns, s.span_id AS range_id, p.occurrence_id
FROM boundary AS s
ASOF LEFT JOIN attribute._phase_segments AS p ON p.global_tid = s.lane AND p.start_ns <= s.start_ns
