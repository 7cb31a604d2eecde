-- Host time of each phase as intervals: its range, or, of one that groups other phases, the stretches between those.
-- Algorithm: a range holds both of its ends, so that the nanosecond between a phase and the next would be in neither. On a clock that ticks
-- twice a nanosecond it has a tick of its own.
-- Grain: occurrence_id, start_ns.
-- requires: attribute._marked_phases, attribute._phase_spans, macros.innermost_segments
-- columns:
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   start_ns      BIGINT   Unit: ns.
--   end_ns        BIGINT   Unit: ns.
WITH container AS (
    SELECT occurrence_id, global_tid, end_ns FROM attribute._marked_phases WHERE is_container AND kind = 'push_pop'
),
ticking AS (
    SELECT s.lane, s.sublane, s.span_id, 2 * s.start_ns AS start_ns, 2 * s.end_ns AS end_ns
    FROM attribute._phase_spans AS s SEMI JOIN container AS c ON c.global_tid = s.lane
),
segment AS (
    SELECT span_id, start_ns >> 1 AS start_ns, lead(start_ns) OVER (PARTITION BY lane ORDER BY start_ns) >> 1 AS end_ns
    FROM macros.innermost_segments('ticking')
)
SELECT occurrence_id, start_ns, end_ns FROM attribute._marked_phases WHERE NOT (is_container AND kind = 'push_pop')
UNION ALL
SELECT c.occurrence_id, s.start_ns, coalesce(s.end_ns, c.end_ns) AS end_ns
FROM segment AS s JOIN container AS c ON c.occurrence_id = s.span_id
