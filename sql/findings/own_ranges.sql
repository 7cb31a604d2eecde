-- Work of threads that have ranges of their own, launched while another thread had the only phase of the process open.
-- Grain: a phase and a thread.
-- severity: info
-- message: {operation_count:,} operations were launched by thread {thread_id} of process {process_id}, which has ranges of its
--   own ({example}), while {phase} was open on another thread: they count in no phase
-- hint: {advice}
-- concerns: attribute.gpu_work
-- empty without: attribute._lent_launches WHERE kept_from IS NOT NULL
-- requires: attribute._lent_launches, attribute._linked_work, attribute._repeated_links, attribute.phase_ranges, attribute.inference, load.nvtx_ranges
-- columns:
--   phase           VARCHAR The phase that was open.
--   at_stake_ns     BIGINT  Sum of their durations. Unit: ns.
--   operation_count BIGINT  Such operations.
--   thread_id       BIGINT  Operating-system tid of the thread.
--   process_id      BIGINT  Operating-system pid.
--   example         VARCHAR Text of the range that holds most of them, else of the thread's first.
--   advice          VARCHAR What to do about it.
WITH kept AS (
    SELECT op_id, kept_from FROM attribute._lent_launches WHERE kept_from IS NOT NULL
),
first_range AS (
    SELECT global_tid, arg_min(nullif(name, ''), (start_ns, range_id)) AS name
    FROM load.nvtx_ranges
    WHERE global_tid IN (SELECT global_tid FROM attribute._lent_launches WHERE kept_from IS NOT NULL)
    GROUP BY global_tid
)
SELECT
    p.phase, sum(w.end_ns - w.start_ns)::BIGINT AS at_stake_ns, count(*) AS operation_count,
    w.global_tid & 16777215 AS thread_id, (w.global_tid >> 24) & 16777215 AS process_id,
    left(coalesce(mode(nullif(r.name, '') ORDER BY r.name), any_value(first_range.name)), 80) AS example,
    CASE WHEN (SELECT is_forced FROM attribute.inference) THEN 'without --infer, ' ELSE '' END
        || '--phase NAME=REGEX makes a phase of such ranges' AS advice
FROM kept
JOIN attribute._linked_work AS w USING (op_id)
ANTI JOIN attribute._repeated_links AS again ON again.op_id = w.op_id AND again.api_id = w.api_id
JOIN attribute.phase_ranges AS p ON p.occurrence_id = kept.kept_from
LEFT JOIN load.nvtx_ranges AS r ON r.range_id = w.range_id
LEFT JOIN first_range ON first_range.global_tid = w.global_tid
GROUP BY p.phase, w.global_tid
