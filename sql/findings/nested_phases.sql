-- Phases inside phases, of which the outer ones are no mere groups.
-- Grain: a pair of phases.
-- severity: warning
-- message: {range_count:,} of the ranges of {phase} lie around {inner_phase}: the inner one has the work, both have the wall time
-- hint: the outer ones have no MFU and no MBU; say with --phase which ranges you mean, or with --not-phase which are no phase
-- concerns: attribute.phase_walls, views.phases
-- requires: attribute.phase_ranges, attribute._inner_phases
-- columns:
--   phase       VARCHAR The outer phase.
--   at_stake_ns BIGINT  Wall time of the inner ones. Unit: ns.
--   inner_phase VARCHAR The inner phase.
--   range_count BIGINT  Ranges of the outer one.
SELECT
    p.phase, sum(i.wall_ns)::BIGINT AS at_stake_ns, i.phase AS inner_phase, count(*) AS range_count
FROM attribute._inner_phases AS n
JOIN attribute.phase_ranges AS p ON p.occurrence_id = n.occurrence_id
JOIN attribute.phase_ranges AS i ON i.occurrence_id = n.inner_id
WHERE NOT p.is_container
GROUP BY p.phase, i.phase
