-- How long one of the other ranks waits for a rank in a step, in the collectives of a phase.
-- Algorithm: a step is a training step; of a phase that trains nothing, an occurrence of it. Those of the ranks that share a communicator with
-- the late one count, each as often as that rank has it. A step is left out if nobody is blamed for one of its collectives, which lies behind a cold
-- step, or if one lacks its partner: what is waited there is not known.
-- Grain: phase, process_key; ranks for which nobody waits in such a step are absent.
-- materialize: table
-- empty without: attribute.collectives WHERE wait_ns IS NOT NULL
-- requires: attribute._judged_collectives, attribute.collectives, attribute.occurrences, attribute.training_passes
-- columns:
--   phase       VARCHAR Phase of the kernels that wait.
--   process_key BIGINT  The late rank. Joins load.ranks.
--   steps       BIGINT  Steps of the other ranks, added up over them.
--   step_ns     BIGINT  Mean time that one of them waits for it in one. Unit: ns.
--   is_trained  BOOLEAN Whether they are training steps.
WITH pass AS (
    SELECT
        o.occurrence_id, o.phase, o.process_key, bool_or(t.step IS NOT NULL) OVER (PARTITION BY o.phase) AS is_trained,
        CASE WHEN t.step IS NULL THEN format('occurrence {}', o.occurrence_id) ELSE format('step {} of {}', t.step, t.lane) END AS step
    FROM attribute.occurrences AS o LEFT JOIN attribute.training_passes AS t USING (occurrence_id)
    WHERE o.is_measured
    QUALIFY t.step IS NOT NULL OR NOT is_trained
),
clean AS (
    SELECT p.phase, p.process_key, p.step, any_value(p.is_trained) AS is_trained
    FROM pass AS p
    LEFT JOIN attribute.collectives AS c ON c.occurrence_id = p.occurrence_id AND c.group_id IS NOT NULL
    LEFT JOIN attribute._judged_collectives AS j ON j.op_id = c.op_id
    GROUP BY p.phase, p.process_key, p.step
    HAVING NOT coalesce(bool_or(j.is_after_cold OR (c.op_id IS NOT NULL AND c.wait_ns IS NULL)), false)
),
waited AS (
    SELECT j.phase, j.late_key, j.process_key, sum(j.wait_ns) AS wait_ns
    FROM attribute._judged_collectives AS j
    JOIN attribute.collectives AS c USING (op_id)
    JOIN pass AS p ON p.occurrence_id = c.occurrence_id
    JOIN clean AS s ON s.phase = p.phase AND s.process_key = p.process_key AND s.step = p.step
    WHERE j.late_key <> j.process_key
    GROUP BY j.phase, j.late_key, j.process_key
),
member AS (
    SELECT DISTINCT phase, group_id, process_key FROM attribute._judged_collectives
),
other AS (
    SELECT DISTINCT o.phase, l.process_key AS late_key, o.process_key
    FROM member AS o JOIN member AS l ON l.group_id = o.group_id AND l.process_key <> o.process_key
)
SELECT
    o.phase, o.late_key AS process_key, sum(n.steps)::BIGINT AS steps, (sum(coalesce(w.wait_ns, 0)) / sum(n.steps))::BIGINT AS step_ns,
    bool_or(n.is_trained) AS is_trained
FROM other AS o
JOIN (
    SELECT phase, process_key, count(*) AS steps, any_value(is_trained) AS is_trained FROM clean GROUP BY phase, process_key
) AS n ON n.phase = o.phase AND n.process_key = o.process_key
LEFT JOIN waited AS w ON w.phase = o.phase AND w.late_key = o.late_key AND w.process_key = o.process_key
GROUP BY o.phase, o.late_key
HAVING sum(w.wait_ns) > 0
