-- Training steps in time, before it is known which are cold: see attribute.training_step_spans.
-- Grain: lane, step.
-- materialize: table
-- empty without: attribute.training_passes
-- requires: attribute.training_passes, attribute._lone_forwards, attribute.phase_ranges, attribute._work_ends, load.trace_files
-- columns:
--   lane           BIGINT   Whose steps they are: see attribute.training_passes.
--   process_key    BIGINT   Joins load.processes.
--   step           BIGINT   0, 1, 2, … in the lane.
--   micro_batches  BIGINT   Forward passes with a backward.
--   is_complete    BOOLEAN  Whether its forwards, its backwards and, if the lane has optimizers, its optimizer are there.
--   is_warmup      BOOLEAN  Whether one of its passes is inside warm-up.
--   is_slow        BOOLEAN  Whether it is the first, or follows slow ones alone, and takes three times the median of the later ones.
--   start_ns       BIGINT   Unit: ns.
--   end_ns         BIGINT   Unit: ns.
--   first_pass_ns  BIGINT   When its first pass begins. Unit: ns.
WITH step AS (
    SELECT
        t.lane, t.process_key, t.step, count(*) FILTER (t.part = 'step' OR t.together_id = t.occurrence_id) AS micro_batches,
        count(*) FILTER (t.together_id = t.occurrence_id) = count(DISTINCT coalesce(t.forward_id, t.occurrence_id))
            FILTER (t.part = 'backward' AND (t.forward_id IS NOT NULL OR NOT t.is_told)) AS is_paired,
        bool_or(t.part = 'optimizer') AS has_optimizer, bool_or(p.is_warmup) AS is_warmup,
        least(min(t.start_ns), any_value(l.start_ns)) AS first_pass_ns,
        max(t.end_ns) AS host_end_ns,
        max(w.end_ns) AS gpu_end_ns
    FROM attribute.training_passes AS t
    JOIN attribute.phase_ranges AS p USING (occurrence_id)
    LEFT JOIN attribute._work_ends AS w USING (occurrence_id)
    LEFT JOIN (
        SELECT lane, step, min(start_ns) AS start_ns FROM attribute._lone_forwards GROUP BY lane, step
    ) AS l ON l.lane = t.lane AND l.step = t.step
    WHERE t.step IS NOT NULL
    GROUP BY t.lane, t.process_key, t.step
),
between_steps AS (
    SELECT p.process_key, p.end_ns
    FROM attribute.phase_ranges AS p
    LEFT JOIN attribute.training_passes AS t USING (occurrence_id)
    ANTI JOIN attribute._lone_forwards AS l ON l.occurrence_id = p.occurrence_id
    WHERE t.step IS NULL AND (NOT p.is_container OR p.phase = 'evaluation')
),
begun AS (
    SELECT
        s.*, max(s.host_end_ns) OVER before AS last_end_ns,
        bool_or(s.has_optimizer) OVER (PARTITION BY s.lane) AS wants_optimizer,
        CASE
            WHEN s.step = max(s.step) OVER (PARTITION BY s.lane) THEN greatest(s.host_end_ns, s.gpu_end_ns)
            ELSE s.host_end_ns
        END AS end_ns
    FROM step AS s
    WINDOW before AS (PARTITION BY s.lane ORDER BY s.step ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
span AS (
    SELECT
        b.*,
        CASE
            WHEN b.last_end_ns IS NULL THEN b.first_pass_ns
            ELSE least(greatest(b.last_end_ns, coalesce(e.end_ns, b.last_end_ns), coalesce(f.start_ns, b.last_end_ns)), b.first_pass_ns)
        END AS start_ns
    FROM begun AS b
    ASOF LEFT JOIN between_steps AS e ON e.process_key = b.process_key AND e.end_ns <= b.first_pass_ns
    ASOF LEFT JOIN load.trace_files AS f ON f.process_key = b.process_key AND f.start_ns <= b.first_pass_ns
),
judged AS (
    SELECT
        *,
        coalesce(end_ns - start_ns > 3 * CASE WHEN count(*) OVER later > 1 THEN median(end_ns - start_ns) OVER later END, false) AS is_slow
    FROM span
    WINDOW later AS (PARTITION BY lane ORDER BY step ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)
)
SELECT
    s.lane, s.process_key, s.step, s.micro_batches,
    s.is_paired AND s.micro_batches > 0 AND s.has_optimizer = s.wants_optimizer AS is_complete, s.is_warmup,
    bool_and(s.is_slow) OVER (PARTITION BY s.lane ORDER BY s.step) AS is_slow, s.start_ns, s.end_ns, s.first_pass_ns
FROM judged AS s
