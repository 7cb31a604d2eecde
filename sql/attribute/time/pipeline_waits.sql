-- Communication in which a stage of a pipeline waits for others in its measured training steps: sends and receives that no
-- compute hides, and collectives behind its last pass that wait for a stage which still computes.
-- Algorithm: the shortest send or receive of the job is taken to be transfer, what one takes longer to be waiting. Which ranks a
-- send is for is not known. All-to-alls and rings of context parallelism run the same kernels: so nothing for models with experts,
-- for split sequences, or for a process with more than eight such kernels for each micro-batch.
-- Grain: op_id; empty unless marks or options say that the model has several stages.
-- materialize: table
-- empty without: attribute.training_passes
-- requires: attribute.collectives, attribute.communication_overlap, attribute.gpu_work, attribute.training_passes, attribute.training_step_spans, input.model
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
        c.op_id, c.process_key, s.step, c.occurrence_id, c.kind, c.start_ns, d.first_ns, d.last_ns, s.micro_batches,
        CASE
            WHEN c.kind = 'send_recv'
                THEN greatest(0, o.exposed_ns - min(CASE WHEN c.kind = 'send_recv' THEN c.end_ns - c.start_ns END) OVER ())
            WHEN c.start_ns >= d.last_ns THEN least(coalesce(c.wait_ns, 0), o.exposed_ns)
            ELSE 0
        END AS wait_ns,
        count(CASE WHEN c.kind = 'send_recv' THEN 1 END) OVER (PARTITION BY c.process_key) AS messages
    FROM attribute.collectives AS c
    JOIN attribute.communication_overlap AS o USING (op_id)
    JOIN attribute.gpu_work AS w USING (op_id)
    ASOF JOIN step AS s ON s.process_key = c.process_key AND s.start_ns <= coalesce(w.launch_start_ns, c.start_ns)
    JOIN computed AS d ON d.process_key = s.process_key AND d.step = s.step
    WHERE coalesce(w.launch_start_ns, c.start_ns) < s.end_ns
),
total AS (
    SELECT process_key, sum(micro_batches) AS micro_batches FROM step GROUP BY process_key
)
SELECT
    s.op_id, s.process_key, s.step, s.occurrence_id,
    CASE WHEN s.start_ns < s.first_ns THEN 'start' WHEN s.start_ns >= s.last_ns THEN 'end' ELSE 'between' END AS place,
    s.kind, s.wait_ns::BIGINT AS wait_ns
FROM sent AS s JOIN total AS t USING (process_key)
WHERE s.wait_ns > 0 AND s.messages BETWEEN 1 AND 8 * t.micro_batches
