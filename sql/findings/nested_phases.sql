-- Phases inside phases, of which the outer ones are no mere groups.
-- Grain: a pair of phases.
-- severity: warning
-- message: {range_count:,} of the ranges of {phase} lie around {inner_phase}: the inner one has the work, both have the wall time
-- hint: the outer ones have no MFU and no MBU; say with --phase which ranges you mean, or with --not-phase which are no phase
-- concerns: attribute.phase_walls, views.phases
-- requires: attribute.phase_ranges
-- columns:
--   phase       VARCHAR The outer phase.
--   at_stake_ns BIGINT  Wall time of the inner ones. Unit: ns.
--   inner_phase VARCHAR The inner phase.
--   range_count BIGINT  Ranges of the outer one.
SELECT
    p.phase, sum(i.wall_ns)::BIGINT AS at_stake_ns, i.phase AS inner_phase, count(*) AS range_count
FROM attribute.phase_ranges AS p
ASOF JOIN attribute.phase_ranges AS i ON i.global_tid = p.global_tid AND i.start_ns > p.start_ns
WHERE i.start_ns <= p.end_ns AND i.end_ns <= p.end_ns AND NOT p.is_container
GROUP BY p.phase, i.phase
