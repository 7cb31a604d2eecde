-- Work that belongs only to a range that encloses ranges of its own phase: a loop around steps.
-- Grain: a phase.
-- severity: info
-- message: {operation_count:,} operations are in no phase: ranges of {phase} that enclose other ranges of {phase} launched them, and
--   count as loops around phases
-- hint: if the inner ranges are not phases, pass --not-phase REGEX for them
-- concerns: attribute.phase_walls, views.phases
-- empty without: attribute._linked_work WHERE occurrence_id IS NULL
-- requires: attribute._phase_candidates, attribute._marked_phases, attribute.inference, attribute._linked_work, attribute._repeated_links
-- columns:
--   phase           VARCHAR The phase.
--   at_stake_ns     BIGINT  Sum of their durations. Unit: ns.
--   operation_count BIGINT  Such operations.
SELECT c.phase, sum(w.end_ns - w.start_ns)::BIGINT AS at_stake_ns, count(*) AS operation_count
FROM attribute._phase_candidates AS c
ANTI JOIN attribute._marked_phases AS m ON m.occurrence_id = c.range_id
JOIN attribute._linked_work AS w ON w.range_id = c.range_id
ANTI JOIN attribute._repeated_links AS r ON r.op_id = w.op_id AND r.api_id = w.api_id
-- With --infer no range is a phase, and so none is a loop.
WHERE w.occurrence_id IS NULL AND NOT (SELECT is_forced FROM attribute.inference)
GROUP BY c.phase
