-- Phases that start while another one of their thread is open, and end after it, as start/end ranges and ranges of two domains may.
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
SELECT p.phase, sum(p.end_ns - later.start_ns)::BIGINT AS at_stake_ns, later.phase AS later_phase, count(*) AS range_count
FROM attribute.phase_ranges AS p
ASOF JOIN attribute.phase_ranges AS later ON later.global_tid = p.global_tid AND later.start_ns > p.start_ns
WHERE later.start_ns < p.end_ns AND later.end_ns > p.end_ns AND p.is_closed AND later.is_closed
GROUP BY p.phase, later.phase
