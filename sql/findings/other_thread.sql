-- Operations of threads without ranges, which were given to the phase that another thread had open.
-- Grain: phase.
-- severity: warning
-- message: {operation_count:,} operations launched by a thread without ranges were given to {phase}, the only phase open then
-- hint: --strict leaves them unattributed
-- concerns: attribute.gpu_work
-- requires: attribute.work_by_occurrence, attribute.phase_ranges
-- columns:
--   phase           VARCHAR The phase.
--   at_stake_ns     BIGINT  Sum of their durations. Unit: ns.
--   operation_count BIGINT  Such operations.
SELECT
    p.phase, sum(w.other_thread_time_ns)::BIGINT AS at_stake_ns, sum(w.other_thread_count)::BIGINT AS operation_count
FROM attribute.work_by_occurrence AS w JOIN attribute.phase_ranges AS p USING (occurrence_id)
GROUP BY p.phase
HAVING sum(w.other_thread_count) > 0
