-- Phases that start while another one of their thread is open, and end after it, as start/end ranges and ranges of two domains may.
-- Algorithm: of several that start in one and end after it the next range of the thread counts, if it is such, else the one that ends last.
-- Grain: a pair of phases.
-- severity: warning
-- message: {range_count:,} ranges of {phase} overlap a later range of {later_phase} on their thread: work launched in the overlap counts
--   for {later_phase}, and both wall times include it
-- hint: mark phases with nested push/pop ranges, or pass --not-phase REGEX for ranges that are not phases
-- concerns: attribute.phase_walls, attribute.work_by_occurrence, views.phases
-- requires: attribute.phase_ranges
-- columns:
--   phase       VARCHAR The phase that was open first.
--   at_stake_ns BIGINT  Time in which both are open. Unit: ns.
--   later_phase VARCHAR The phase that was opened in it.
--   range_count BIGINT  Ranges of the first one.
WITH crossed AS (
    SELECT
        global_tid, phase, start_ns, end_ns, lead({'end_ns': end_ns, 'start_ns': start_ns, 'phase': phase}) OVER thread AS next,
        max({'end_ns': end_ns, 'start_ns': start_ns, 'phase': phase}) OVER (
            thread RANGE BETWEEN 1 FOLLOWING AND greatest(0, end_ns - start_ns - 1) FOLLOWING
        ) AS furthest
    FROM attribute.phase_ranges
    WHERE is_closed
    WINDOW thread AS (PARTITION BY global_tid ORDER BY start_ns)
),
pair AS (
    SELECT
        phase, end_ns,
        CASE WHEN next.start_ns > start_ns AND next.start_ns < end_ns AND next.end_ns > end_ns THEN next ELSE furthest END AS later
    FROM crossed
    WHERE furthest.end_ns > end_ns
)
SELECT phase, sum(end_ns - later.start_ns)::BIGINT AS at_stake_ns, later.phase AS later_phase, count(*) AS range_count
FROM pair
GROUP BY phase, later.phase
