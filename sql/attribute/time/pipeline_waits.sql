-- Communication in which a stage of a pipeline waits for others in its measured training steps: sends and receives that no
-- compute hides, and collectives behind its last pass that wait for a stage which still computes.
-- Algorithm: the shortest send or receive of the job is taken to be transfer, what one takes longer to be waiting. A send and a receive
-- that wait at once, on streams of their own, wait once: each counts from the end of those that started before it. Which ranks a
-- send is for is not known. All-to-alls and rings of context parallelism run the same kernels: so nothing for models with experts,
-- for split sequences, or for a process with more than eight such kernels for each micro-batch.
-- Grain: op_id; empty unless marks or options say that the model has several stages.
-- materialize: table
-- empty without: attribute.training_passes
-- requires: attribute.collectives, attribute._compute_until, attribute.gpu_work, attribute.training_passes, attribute.training_step_spans, input.model
-- columns:
--   op_id         BIGINT  Joins attribute.gpu_work.
--   process_key   BIGINT  Joins load.processes.
--   step          BIGINT  The training step that launched it.
--   occurrence_id BIGINT  The phase it belongs to, NULL outside every phase.
--   place         VARCHAR 'start' (before the first compute of the step), 'between', or 'end' (after the last one of its backward).
--   kind          VARCHAR The collective.
--   wait_ns       BIGINT  Unit: ns.
WITH step AS (
    SELECT process_key, step, micro_batches, start_ns, end_ns
    FROM attribute.training_step_spans
    WHERE is_measured
        AND EXISTS (FROM input.model WHERE pp > 1 AND cp = 1 AND dense_layers IS NOT NULL)
),
computed AS (
    SELECT p.process_key, p.step, min(w.start_ns) AS first_ns, max(w.end_ns) AS last_ns
    FROM attribute.training_passes AS p
    SEMI JOIN step USING (process_key, step)
    JOIN attribute.gpu_work AS w USING (occurrence_id)
    ANTI JOIN attribute.collectives AS c ON c.op_id = w.op_id
    WHERE p.part <> 'optimizer' AND w.kind = 'kernel'
    GROUP BY p.process_key, p.step
),
sent AS (
    SELECT
        c.op_id, c.process_key, s.step, c.occurrence_id, c.kind, w.device_id, c.start_ns, c.end_ns, d.first_ns, d.last_ns, c.wait_ns,
        min(CASE WHEN c.kind = 'send_recv' THEN c.end_ns - c.start_ns END) OVER () AS transfer_ns,
        count(CASE WHEN c.kind = 'send_recv' THEN 1 END) OVER (PARTITION BY c.process_key) AS messages,
        greatest(c.start_ns, max(c.end_ns) OVER (
            PARTITION BY w.device_id, c.kind = 'send_recv' OR c.start_ns >= d.last_ns ORDER BY c.start_ns, c.op_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )) AS own_ns
    FROM attribute.collectives AS c
    JOIN attribute.gpu_work AS w USING (op_id)
    ASOF JOIN step AS s ON s.process_key = c.process_key AND s.start_ns <= coalesce(w.launch_start_ns, c.start_ns)
    JOIN computed AS d ON d.process_key = s.process_key AND d.step = s.step
    WHERE coalesce(w.launch_start_ns, c.start_ns) < s.end_ns
),
waited AS (
    SELECT
        s.*, s.end_ns - s.own_ns - (e.compute_ns - b.compute_ns) AS exposed_ns,
        CASE
            WHEN s.kind = 'send_recv' THEN greatest(0, exposed_ns - s.transfer_ns)
            WHEN s.start_ns >= s.last_ns THEN least(coalesce(s.wait_ns, 0), exposed_ns)
            ELSE 0
        END AS lost_ns
    FROM sent AS s
    JOIN attribute._compute_until AS b ON b.device_id = s.device_id AND b.at_ns = s.own_ns
    JOIN attribute._compute_until AS e ON e.device_id = s.device_id AND e.at_ns = s.end_ns
    WHERE s.own_ns < s.end_ns
),
total AS (
    SELECT process_key, sum(micro_batches) AS micro_batches FROM step GROUP BY process_key
)
SELECT
    s.op_id, s.process_key, s.step, s.occurrence_id,
    CASE WHEN s.start_ns < s.first_ns THEN 'start' WHEN s.start_ns >= s.last_ns THEN 'end' ELSE 'between' END AS place,
    s.kind, s.lost_ns::BIGINT AS wait_ns
FROM waited AS s JOIN total AS t USING (process_key)
WHERE s.lost_ns > 0 AND s.messages BETWEEN 1 AND 8 * t.micro_batches
