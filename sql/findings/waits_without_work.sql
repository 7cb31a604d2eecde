-- The host waits for the GPU, and nothing that was recorded runs there: the recording may lack what it waits for.
-- A tenth of the phase's time, in waits of a millisecond or more; of host time, if the phase has no work at all.
-- Grain: phase.
-- severity: warning
-- message: in {phase} the host waits {idle_ns:ms} for the GPU in {call_count:,} calls, and nothing that was recorded runs then: unless it
--   waits for another process, a GPU of one, or the host, work is missing, and the GPU was not idle
-- hint: see whether all libraries have kernels in the trace (`from top_kernels`); record with CUDA tracing in every process
-- concerns: attribute.occurrence_times, attribute.work_by_occurrence
-- empty without: attribute._long_waits
-- requires: attribute._long_waits, attribute._process_work, macros.covered, attribute._phase_segments, attribute.occurrences, attribute.phase_spending, attribute.phase_walls
-- columns:
--   phase       VARCHAR The phase.
--   at_stake_ns BIGINT  Time of these waits in which no GPU works for the process. Unit: ns.
--   call_count  BIGINT  Such calls.
--   idle_ns     BIGINT  The same time. Unit: ns.
WITH idle AS (
    SELECT o.phase, count(*) AS call_count, sum(w.end_ns - w.start_ns - c.covered_ns)::BIGINT AS idle_ns
    FROM attribute._long_waits AS w
    JOIN macros.covered('attribute._long_waits', 'attribute._process_work') AS c USING (span_id)
    ASOF JOIN attribute._phase_segments AS g ON g.global_tid = w.global_tid AND g.start_ns <= w.start_ns
    JOIN attribute.occurrences AS o ON o.occurrence_id = g.occurrence_id
    WHERE o.is_measured AND w.end_ns - w.start_ns - c.covered_ns >= 1000000
    GROUP BY o.phase
)
SELECT i.phase, i.idle_ns AS at_stake_ns, i.call_count, i.idle_ns
FROM idle AS i JOIN attribute.phase_walls AS w USING (phase) LEFT JOIN attribute.phase_spending AS s USING (phase)
WHERE 10 * i.idle_ns >= coalesce(s.phase_ns, w.wall_ns)
