-- Work that a range launches itself which encloses ranges of its own phase: a loop around steps.
-- Grain: a phase.
-- severity: info
-- message: {operation_count:,} operations were launched in ranges of {phase} that enclose ranges of {phase}, beside those: such
--   ranges are loops, and what only they hold counts in no phase
-- hint: if the inner ranges are no phase, --not-phase REGEX says so
-- concerns: attribute.phase_walls, views.phases
-- requires: attribute._phase_candidates, attribute._marked_phases, attribute._linked_work
-- columns:
--   phase           VARCHAR The phase.
--   at_stake_ns     BIGINT  Sum of their durations. Unit: ns.
--   operation_count BIGINT  Such operations.
SELECT c.phase, sum(w.end_ns - w.start_ns)::BIGINT AS at_stake_ns, count(DISTINCT w.op_id) AS operation_count
FROM attribute._phase_candidates AS c
ANTI JOIN attribute._marked_phases AS m ON m.occurrence_id = c.range_id
JOIN attribute._linked_work AS w ON w.range_id = c.range_id
WHERE w.occurrence_id IS NULL
GROUP BY c.phase
