-- Time between training steps that is in none of them: an engine generates in the trainer's process, or it evaluates, or saves weights.
-- Grain: one row, where that is a hundredth of the time from the first step to the last at least.
-- severity: info
-- message: between training steps the program is in {phases} for {time_ns:ms}, {share:%} of the time from the first step to the last: that is in no
--   step, so that tokens per second and MFU are of the steps alone
-- hint: `llmperf sql TRACE "from training_steps"` has when each begins and ends
-- concerns: estimate.training_steps
-- empty without: attribute.training_step_spans
-- requires: estimate.training_steps, attribute.phase_ranges, load.trace_files
-- columns:
--   phase       VARCHAR NULL: it is of whole steps.
--   at_stake_ns BIGINT  NULL: nothing to win. Unit: ns.
--   phases      VARCHAR The phases in between.
--   time_ns     BIGINT  From the end of a step to the start of the next one, added up over ranks. Unit: ns.
--   share       DOUBLE  time_ns of the time from the first step to the last.
WITH step AS (
    SELECT lane, process_key, lag(end_ns) OVER steps AS start_ns, start_ns AS end_ns, end_ns - min(start_ns) OVER steps AS span_ns
    FROM estimate.training_steps
    WINDOW steps AS (PARTITION BY lane ORDER BY step)
),
gap AS (
    SELECT g.lane, g.process_key, g.start_ns, g.end_ns
    FROM step AS g ASOF LEFT JOIN load.trace_files AS f ON f.process_key = g.process_key AND f.start_ns <= g.end_ns
    -- Nobody knows what runs between two recordings.
    WHERE g.end_ns > g.start_ns AND coalesce(f.start_ns <= g.start_ns, true)
),
inside AS (
    SELECT g.lane, g.start_ns, g.end_ns, p.phase
    FROM (FROM attribute.phase_ranges WHERE NOT is_container OR phase IN ('evaluation', 'rollout')) AS p
    ASOF JOIN gap AS g ON g.process_key = p.process_key AND g.start_ns <= p.start_ns
    WHERE p.start_ns < g.end_ns
),
total AS (
    SELECT
        (SELECT sum(end_ns - start_ns) FROM (SELECT DISTINCT lane, start_ns, end_ns FROM inside))::BIGINT AS time_ns,
        (SELECT sum(span_ns) FROM (SELECT max(span_ns) AS span_ns FROM step GROUP BY lane)) AS span_ns,
        (SELECT string_agg(DISTINCT phase, ', ' ORDER BY phase) FROM inside) AS phases
)
SELECT NULL::VARCHAR AS phase, NULL::BIGINT AS at_stake_ns, phases, time_ns, time_ns / span_ns AS share
FROM total
WHERE time_ns >= span_ns / 100
