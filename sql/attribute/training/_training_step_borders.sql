-- When training steps begin and end, as far as they are measured. Between two measured steps that is the host's time: what the GPU still
-- has to do of one is made up for by what it has to do of the next. Where measured time begins or ends it is the GPU's, if the host runs
-- ahead of it: the work of a step that is left out, of evaluation, or of steps before the recording is no time of the first measured
-- step, and the last one is over when its work has ended, but for copies beside the passes: see attribute._work_ends.
-- Algorithm: a first measured step begins when all work that was launched before it has ended, or its own begins.
-- Grain: lane, step.
-- materialize: table
-- empty without: attribute.training_step_spans
-- requires: attribute.training_step_spans, attribute.training_passes, attribute._lone_forwards, attribute.work_by_occurrence, attribute._work_ends, attribute.phase_ranges, attribute.gpu_work, macros.first_timed_ns
-- columns:
--   lane     BIGINT Whose steps they are: see attribute.training_passes.
--   step     BIGINT Joins attribute.training_step_spans.
--   start_ns BIGINT Unit: ns.
--   end_ns   BIGINT Unit: ns.
WITH occurrence AS (
    SELECT w.occurrence_id, macros.first_timed_ns(w.first_start_ns, w.last_end_ns) AS first_ns, any_value(e.end_ns) AS last_ns
    FROM attribute.work_by_occurrence AS w LEFT JOIN attribute._work_ends AS e USING (occurrence_id)
    WHERE w.occurrence_id IS NOT NULL
    GROUP BY w.occurrence_id
),
own AS (
    SELECT p.lane, p.step, min(o.first_ns) AS first_ns, max(o.last_ns) AS last_ns
    FROM (
        SELECT occurrence_id, lane, step FROM attribute.training_passes WHERE step IS NOT NULL
        UNION ALL
        SELECT occurrence_id, lane, step FROM attribute._lone_forwards
    ) AS p
    JOIN occurrence AS o USING (occurrence_id)
    GROUP BY p.lane, p.step
),
earlier AS (
    SELECT process_key, at_ns, max(last_ns) OVER (PARTITION BY process_key ORDER BY at_ns) AS last_ns
    FROM (
        SELECT p.process_key, p.end_ns AS at_ns, o.last_ns
        FROM attribute.phase_ranges AS p JOIN occurrence AS o USING (occurrence_id)
        UNION ALL
        SELECT process_key, coalesce(launch_start_ns, start_ns), end_ns FROM attribute.gpu_work WHERE occurrence_id IS NULL
    )
),
placed AS (
    SELECT
        lane, process_key, step, is_measured, start_ns, end_ns,
        coalesce(lag(end_ns) OVER steps = start_ns, false) AS is_behind, coalesce(lead(start_ns) OVER steps = end_ns, false) AS is_before,
        coalesce(lag(is_measured) OVER steps, false) AS is_last_measured, coalesce(lead(is_measured) OVER steps, false) AS is_next_measured
    FROM attribute.training_step_spans
    WINDOW steps AS (PARTITION BY lane ORDER BY step)
),
moved AS (
    SELECT
        p.*,
        CASE
            WHEN p.is_measured AND NOT (p.is_behind AND p.is_last_measured) THEN greatest(p.start_ns, least(coalesce(e.last_ns, p.start_ns), o.first_ns))
            ELSE p.start_ns
        END AS from_ns,
        CASE
            WHEN p.is_measured AND NOT (p.is_before AND p.is_next_measured) THEN greatest(p.end_ns, o.last_ns)
            ELSE p.end_ns
        END AS until_ns
    FROM placed AS p
    LEFT JOIN own AS o USING (lane, step)
    ASOF LEFT JOIN earlier AS e ON e.process_key = p.process_key AND e.at_ns <= p.start_ns
)
SELECT
    lane, step,
    CASE WHEN is_behind AND is_last_measured AND NOT is_measured THEN least(lag(until_ns) OVER steps, until_ns) ELSE from_ns END AS start_ns,
    CASE WHEN is_before AND is_next_measured AND NOT is_measured THEN lead(from_ns) OVER steps ELSE until_ns END AS end_ns
FROM moved
WINDOW steps AS (PARTITION BY lane ORDER BY step)
