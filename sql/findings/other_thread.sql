-- Operations that went to a phase of another thread than the one that launched them.
-- Grain: a phase.
-- severity: warning
-- message: {operation_count:,} operations of {phase} were launched by {who}: no other phase was open in their process then
-- hint: --strict leaves them unattributed
-- concerns: attribute.gpu_work
-- empty without: attribute._lent_launches WHERE method = 'other_thread'
-- requires: attribute._lent_launches, attribute._autograd_threads, attribute.phase_ranges, attribute.work_by_occurrence, attribute._inferred_phases
-- columns:
--   phase           VARCHAR The phase that got them.
--   at_stake_ns     BIGINT  Sum of their durations. Unit: ns.
--   operation_count BIGINT  Such operations.
--   who             VARCHAR Whose threads launched them, in words.
WITH launcher AS (
    SELECT
        p.phase, count(a.global_tid) = count(*) AS is_all_autograd, count(a.global_tid) > 0 AS is_some_autograd
    FROM (SELECT occurrence_id, global_tid FROM attribute._lent_launches WHERE method = 'other_thread') AS l
    JOIN attribute.phase_ranges AS p USING (occurrence_id)
    LEFT JOIN attribute._autograd_threads AS a ON a.global_tid = l.global_tid
    GROUP BY p.phase
),
work AS (
    SELECT p.phase, sum(w.other_thread_count)::BIGINT AS operation_count, sum(w.other_thread_time_ns)::BIGINT AS time_ns
    FROM attribute.work_by_occurrence AS w JOIN attribute.phase_ranges AS p USING (occurrence_id)
    GROUP BY p.phase
),
word AS (
    SELECT CASE WHEN EXISTS (FROM attribute._inferred_phases) THEN 'phase' ELSE 'range' END AS span
)
SELECT
    phase, w.time_ns AS at_stake_ns, w.operation_count,
    CASE
        WHEN is_all_autograd THEN 'the threads of autograd'
        WHEN is_some_autograd THEN 'the threads of autograd and by threads that were in no ' || span || ' of their own'
        ELSE 'threads that were in no ' || span || ' of their own'
    END AS who
FROM work AS w JOIN launcher USING (phase) CROSS JOIN word
