-- Phases without any GPU work whose ranges were open while work ran that is in no phase: their thread launches nothing, as ranges that
-- host functions of CUDA graphs open.
-- Grain: phase.
-- severity: warning
-- message: {range_count:,} measured ranges of {phase} launched no GPU work, and {operation_count:,} GPU operations that are in no phase ran
--   while they were open ({work_ns:ms}): GPU times of {phase} are not 0, but unknown
-- hint: open the ranges on the thread that launches the work; what runs inside a CUDA graph belongs to the range around its launch
-- concerns: attribute.gpu_work
-- empty without: attribute._linked_work WHERE occurrence_id IS NULL
-- requires: attribute.occurrences, attribute.work_by_occurrence, attribute.gpu_work, macros.islands
-- columns:
--   phase           VARCHAR The phase.
--   at_stake_ns     BIGINT  Durations of that work, added up. Unit: ns.
--   range_count     BIGINT  Measured ranges of the phase.
--   operation_count BIGINT  Operations in no phase that started while one of them was open, in its process.
--   work_ns         BIGINT  at_stake_ns. Unit: ns.
WITH idle AS (
    SELECT o.phase
    FROM attribute.occurrences AS o
    LEFT JOIN (SELECT DISTINCT occurrence_id FROM attribute.work_by_occurrence WHERE occurrence_id IS NOT NULL) AS w USING (occurrence_id)
    WHERE o.phase NOT IN ('warmup', 'checkpoint')
    GROUP BY o.phase
    HAVING count(w.occurrence_id) = 0
),
span AS (
    SELECT phase, process_key, start_ns, end_ns FROM attribute.occurrences SEMI JOIN idle USING (phase) WHERE is_measured
),
opened AS MATERIALIZED (
    SELECT {'phase': phase, 'process_key': process_key} AS group_id, start_ns, end_ns FROM span
),
ran AS (
    SELECT i.phase, count(*) AS operation_count, sum(w.end_ns - w.start_ns)::BIGINT AS work_ns
    FROM idle AS i
    JOIN attribute.gpu_work AS w ON w.occurrence_id IS NULL AND w.reason IN ('no_range', 'no_phase')
    ASOF JOIN macros.islands('opened') AS s
        ON s.group_id = {'phase': i.phase, 'process_key': w.process_key} AND s.start_ns <= w.start_ns
    WHERE w.start_ns < s.end_ns
    GROUP BY i.phase
)
SELECT
    r.phase, r.work_ns AS at_stake_ns, (SELECT count(*) FROM span AS s WHERE s.phase = r.phase) AS range_count,
    r.operation_count, r.work_ns
FROM ran AS r
