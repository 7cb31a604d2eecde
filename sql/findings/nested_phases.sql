-- Phases inside phases of another name, if the outer ones are more than groups: all that lie directly inside.
-- Grain: a pair of phases.
-- severity: warning
-- message: {range_count:,} ranges of {phase} contain ranges of {inner_phase}: the work counts for {inner_phase}, and both wall times
--   include it
-- hint: {phase} has no MFU and no MBU; pass --phase NAME=REGEX for the ranges that you mean, or --not-phase REGEX for those that are
--   not phases
-- concerns: attribute.phase_walls, views.phases
-- requires: attribute.phase_ranges, attribute._inner_phases, attribute._phase_parents
-- columns:
--   phase       VARCHAR The outer phase.
--   at_stake_ns BIGINT  Wall time of the inner ones. Unit: ns.
--   inner_phase VARCHAR The inner phase.
--   range_count BIGINT  Ranges of the outer one.
WITH nested AS (
    SELECT parent_id AS outer_id, occurrence_id AS inner_id FROM attribute._phase_parents WHERE parent_id IS NOT NULL
    UNION
    -- Start/end ranges have no parent.
    SELECT occurrence_id, inner_id FROM attribute._inner_phases
)
SELECT
    p.phase, sum(i.wall_ns)::BIGINT AS at_stake_ns, i.phase AS inner_phase, count(DISTINCT p.occurrence_id) AS range_count
FROM nested AS n
JOIN attribute.phase_ranges AS p ON p.occurrence_id = n.outer_id
JOIN attribute.phase_ranges AS i ON i.occurrence_id = n.inner_id
WHERE NOT p.is_container
GROUP BY p.phase, i.phase
