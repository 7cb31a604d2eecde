-- Ranges of a phase around ranges of a phase.
-- Grain: the outer and the inner phase.
-- severity: warning
-- message: {pair_count:,} ranges of {inner_phase} lie inside ranges of {phase}: the inner ones have the work, both have the wall
--   time
-- hint: the outer ones have no MFU and no MBU; say with --phase which ranges you mean
-- concerns: attribute.phase_walls, views.phases
-- requires: attribute.phase_ranges
-- columns:
--   phase       VARCHAR The outer phase.
--   at_stake_ns BIGINT  Time inside the outer ranges. Unit: ns.
--   inner_phase VARCHAR The inner phase.
--   pair_count  BIGINT  Outer ranges whose next range of the thread is such an inner one.
SELECT p.phase, sum(p.end_ns - p.start_ns)::BIGINT AS at_stake_ns, i.phase AS inner_phase, count(*) AS pair_count
FROM attribute.phase_ranges AS p
ASOF JOIN attribute.phase_ranges AS i ON i.global_tid = p.global_tid AND i.start_ns > p.start_ns
WHERE i.start_ns <= p.end_ns AND i.end_ns <= p.end_ns
GROUP BY p.phase, i.phase
