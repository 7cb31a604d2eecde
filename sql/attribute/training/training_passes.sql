-- Forward, backward and optimizer passes in the order of their training steps.
-- A step is everything up to its optimizer; without one, each run of forwards and the backwards after it. So micro-batches
-- of one accumulated step share a step. Where only optimizers are marked, as of stages of a pipeline, each ends a step. An optimizer that gives the GPU nothing to do, where others of its lane do, is no pass: programs
-- call theirs for each micro-batch, and it updates weights behind the last one.
-- Algorithm: a backward belongs to the last forward before it that has none yet, as a bracket closes the last open one. A
-- forward that gets none evaluates: it is in no step. Forwards that run at once on several threads (DataParallel) are one bracket.
-- A backward whose mark says which forwards it is of needs no brackets; if it is of several, these are together.
-- Grain: occurrence_id; absent where neither a backward nor an optimizer is marked.
-- materialize: table
-- empty without: attribute.phase_ranges WHERE phase IN ('backward', 'optimizer', 'forward_backward', 'step')
-- requires: attribute.phase_ranges, attribute.work_by_occurrence, attribute._training_step_ranges, attribute._told_backwards
-- columns:
--   occurrence_id BIGINT   Joins attribute.phase_ranges.
--   part          VARCHAR  'forward', 'backward', 'optimizer', or 'step': forward and backward in one range.
--   lane          BIGINT   Whose passes follow each other: the process, or the thread where several of one process train.
--   process_key   BIGINT   Joins load.processes.
--   step          BIGINT   0, 1, 2, … in the lane; NULL for a forward without a backward.
--   forward_id    BIGINT   Of a backward: its forward, the first of those that it is of.
--   together_id   BIGINT   Of a forward: the first of those that share its backward with it; itself if it is alone.
--   is_told       BOOLEAN  Of a backward: whether a mark says which forwards it is of.
--   start_ns      BIGINT   Unit: ns.
--   end_ns        BIGINT   Unit: ns.
WITH thread AS (
    SELECT global_tid, process_key
    FROM attribute.phase_ranges
    WHERE phase IN ('forward', 'backward')
    GROUP BY global_tid, process_key
    HAVING count(DISTINCT phase) = 2
),
crowded AS (
    SELECT process_key FROM thread GROUP BY process_key HAVING count(*) > 1
),
pass AS (
    SELECT
        p.occurrence_id,
        CASE WHEN p.phase IN ('forward_backward', 'step') THEN 'step' ELSE p.phase END AS part,
        CASE WHEN c.process_key IS NULL THEN p.process_key ELSE p.global_tid END AS lane,
        p.process_key, p.global_tid, p.start_ns, p.end_ns
    FROM attribute.phase_ranges AS p
    LEFT JOIN crowded AS c USING (process_key)
    LEFT JOIN attribute._training_step_ranges AS s USING (occurrence_id)
    WHERE p.phase IN ('forward', 'backward', 'optimizer')
        OR (p.phase = 'forward_backward' AND NOT p.is_container) OR s.occurrence_id IS NOT NULL
),
training AS (
    SELECT lane FROM pass GROUP BY lane HAVING bool_or(part <> 'forward')
),
optimizer AS (
    SELECT p.occurrence_id, p.lane, w.occurrence_id IS NOT NULL AS has_work
    FROM pass AS p
    LEFT JOIN (SELECT DISTINCT occurrence_id FROM attribute.work_by_occurrence) AS w USING (occurrence_id)
    WHERE p.part = 'optimizer'
),
postponed AS (
    SELECT occurrence_id
    FROM optimizer
    WHERE NOT has_work AND lane IN (SELECT lane FROM optimizer WHERE has_work)
),
open AS (
    SELECT
        p.*,
        part = 'forward' AND coalesce(start_ns < max(end_ns) OVER (
            PARTITION BY lane, part ORDER BY start_ns, occurrence_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), false) AS is_beside
    FROM pass AS p SEMI JOIN training USING (lane) ANTI JOIN postponed USING (occurrence_id)
),
clump AS (
    SELECT
        *, sum((NOT is_beside)::INTEGER) OVER (PARTITION BY lane, part ORDER BY start_ns, occurrence_id) AS clump
    FROM open
),
told_forward AS (
    SELECT occurrence_id, min(first_id) AS together_id
    FROM (SELECT unnest(forward_ids) AS occurrence_id, forward_ids[1] AS first_id FROM attribute._told_backwards)
    GROUP BY occurrence_id
),
grouped AS (
    SELECT
        clump.*, t.occurrence_id IS NOT NULL AS is_told, f.occurrence_id IS NOT NULL OR t.occurrence_id IS NOT NULL AS is_known,
        CASE
            WHEN part <> 'forward' THEN NULL
            WHEN f.occurrence_id IS NOT NULL THEN f.together_id
            WHEN count(*) OVER clump = count(DISTINCT global_tid) OVER clump
                THEN first_value(clump.occurrence_id) OVER (PARTITION BY lane, part, clump ORDER BY start_ns, clump.occurrence_id)
            ELSE clump.occurrence_id
        END AS together_id
    FROM clump
    LEFT JOIN attribute._told_backwards AS t ON t.occurrence_id = clump.occurrence_id AND clump.part = 'backward'
    LEFT JOIN told_forward AS f ON f.occurrence_id = clump.occurrence_id
    WINDOW clump AS (PARTITION BY lane, part, clump)
),
deep AS (
    SELECT
        *,
        -- A forward opens this level, and the backward that closes it has the same.
        sum(CASE WHEN is_known THEN 0 WHEN together_id = occurrence_id THEN 1 WHEN part = 'backward' THEN -1 ELSE 0 END) OVER (
            PARTITION BY lane ORDER BY start_ns, occurrence_id
        ) + (part = 'backward')::INTEGER AS level
    FROM grouped
),
paired AS (
    SELECT b.occurrence_id, f.occurrence_id AS forward_id
    FROM (FROM deep WHERE part = 'backward' AND NOT is_known) AS b
    ASOF JOIN (FROM deep WHERE together_id = occurrence_id AND NOT is_known) AS f
        ON f.lane = b.lane AND f.level = b.level AND f.start_ns <= b.start_ns
    UNION ALL
    SELECT occurrence_id, forward_ids[1] FROM attribute._told_backwards WHERE len(forward_ids) > 0
),
counted AS (
    SELECT
        d.*, p.forward_id, bool_or(d.part = 'optimizer') OVER (PARTITION BY d.lane) AS has_optimizer,
        bool_and(d.part = 'optimizer') OVER (PARTITION BY d.lane) AS has_no_other
    FROM deep AS d
    LEFT JOIN paired AS p USING (occurrence_id)
    WHERE d.part <> 'forward' OR d.together_id IN (SELECT forward_id FROM paired)
),
begun AS (
    SELECT
        *,
        (part <> 'optimizer' OR has_no_other) AND coalesce(
            CASE
                WHEN has_optimizer THEN lag(part) OVER following = 'optimizer'
                WHEN part = 'forward' THEN lag(part) OVER following = 'backward'
                ELSE part = 'step' AND lag(part) OVER following IS NOT NULL
            END,
            false
        ) AS is_first
    FROM counted
    WINDOW following AS (PARTITION BY lane ORDER BY start_ns, occurrence_id)
)
SELECT
    d.occurrence_id, d.part, d.lane, d.process_key,
    (sum(b.is_first::INTEGER) OVER (PARTITION BY d.lane ORDER BY d.start_ns, d.occurrence_id)
        * CASE WHEN b.occurrence_id IS NULL THEN NULL ELSE 1 END)::BIGINT AS step,
    b.forward_id, d.together_id, d.is_told, d.start_ns, d.end_ns
FROM deep AS d LEFT JOIN begun AS b USING (occurrence_id)
