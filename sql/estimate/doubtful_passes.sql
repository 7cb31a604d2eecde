-- Phases of whose passes nobody says how much each has: ranks seem to share a pass or a sequence, and nobody says how many, so that each
-- may have run all of it, or its share; or the ranges of a phase share one pass.
-- Passes: in inference any communication tells. Ranks of training that have batches of their own gather weights in the forward,
-- and reduce the loss; those that share a pass reduce in each layer.
-- Sequences (context parallelism): attention that is written for it, a process group of that name, or ranks that send to each
-- other in each layer of a model without experts and without stages, or that gather in each layer as many bytes as the keys and values of
-- their own tokens have, if NCCL says sizes: one message for both or one for each, with heads repeated or not. Weights have other sizes. torch's
-- context_parallel sends the gradients of both in the backward, whether it sends or gathers in the forward.
-- Gradients: more backwards than forwards, as schedules of pipelines have them that run the gradients of inputs and of weights apart
-- (zero bubble). The first step of a recording may lack forwards that ran before it.
-- Grain: phase.
-- materialize: table
-- requires: input.model, input.occurrence_shapes, input.shape_costs, attribute.collectives, attribute.phase_devices, attribute.phase_ranges, attribute.occurrences, attribute.busy_by_occurrence, attribute.training_passes, attribute.kernel_totals, attribute.kernel_families, load.strings, load.range_names, load.metadata
-- columns:
--   phase            VARCHAR Its name.
--   shared           VARCHAR What ranks may share: 'pass' or 'sequence'; 'gradient' if ranges share a backward.
--   rank_count       BIGINT  Pairs of a process and a GPU that it used.
--   gpu_busy_ns      BIGINT  GPU busy time of measured passes, added up over ranks. Unit: ns.
WITH busy AS (
    SELECT o.phase, sum(b.gpu_busy_ns)::BIGINT AS gpu_busy_ns
    FROM attribute.busy_by_occurrence AS b JOIN attribute.occurrences AS o USING (occurrence_id)
    WHERE o.is_measured
    GROUP BY o.phase
),
rank AS (
    SELECT d.phase, count(*) AS rank_count, coalesce(any_value(b.gpu_busy_ns), 0) AS gpu_busy_ns
    FROM attribute.phase_devices AS d LEFT JOIN busy AS b USING (phase)
    WHERE d.phase IN ('prefill', 'decode', 'mixed', 'verify', 'draft', 'forward', 'backward', 'step')
    GROUP BY d.phase
),
call AS (
    SELECT
        k.phase, k."count",
        regexp_matches(s.value, '(?i)(?:all|cross_device)_?reduce|reduce_?scatter') AS is_reduction,
        regexp_matches(s.value, '(?i)send_?recv') AS is_send
    FROM attribute.kernel_totals AS k
    JOIN attribute.kernel_families AS f ON f.name_id = k.name_id AND f.full_name_id IS NOT DISTINCT FROM k.full_name_id
    JOIN load.strings AS s ON s.string_id = k.name_id
    WHERE f.family = 'communication'
),
occurrence AS (
    SELECT phase, count(*) AS occurrence_count FROM attribute.phase_ranges GROUP BY phase
),
talk AS (
    SELECT DISTINCT phase FROM call WHERE phase NOT IN ('forward', 'backward', 'step')
    UNION ALL
    SELECT unnest(['forward', 'backward'])
    WHERE (SELECT sum("count") FROM call WHERE phase = 'forward' AND is_reduction)
        >= 4 * (SELECT occurrence_count FROM occurrence WHERE phase = 'forward')
),
-- Phases in which ranks send in each layer. One forward has no more sends to other stages than a few.
sending AS (
    SELECT phase
    FROM call JOIN occurrence USING (phase)
    WHERE is_send
    GROUP BY phase
    HAVING sum("count") >= any_value(occurrence_count)
        * (SELECT greatest(4, max(dense_layers)) FROM input.model HAVING max(dense_layers) IS NOT NULL AND max(pp) = 1)
),
-- What says by its name that sequences are split: TransformerEngine, ring-flash-attention, DeepSpeed's Ulysses; groups of
-- torch's device meshes and of Megatron.
named AS (
    SELECT 1 AS one FROM load.range_names
    WHERE regexp_matches(name, 'AttnFuncWithCP|RingFlashAttn|StripeFlashAttn|SeqAllToAll')
    UNION ALL
    SELECT 1 FROM load.metadata WHERE name = 'torch_profiler:context_parallel_group'
),
gathering AS (
    SELECT o.phase, o.occurrence_id
    FROM attribute.collectives AS c
    JOIN attribute.phase_ranges AS o USING (occurrence_id)
    JOIN input.occurrence_shapes AS s USING (occurrence_id)
    JOIN input.shape_costs AS k USING (shape_id)
    CROSS JOIN input.model AS m
    WHERE c.kind = 'all_gather' AND o.phase IN ('forward', 'step') AND m.pp = 1
        AND 2 * c.message_bytes * m.dense_layers IN (SELECT k.kv_write_bytes * unnest([1, 2, 4, 8, 16, 32, 64]))
    GROUP BY o.phase, o.occurrence_id, m.dense_layers
    HAVING count(*) >= m.dense_layers
),
split AS (
    SELECT phase FROM rank WHERE EXISTS (FROM named)
    UNION
    SELECT phase FROM sending
    UNION
    SELECT unnest(['forward', 'backward']) FROM sending WHERE phase IN ('forward', 'backward')
    UNION
    SELECT phase FROM gathering
    UNION
    SELECT 'backward' FROM gathering WHERE phase = 'forward'
),
backward AS (
    SELECT t.lane, t.forward_id, b.has_optimizer
    FROM attribute.training_passes AS t
    JOIN (
        SELECT lane, min(step) AS first_step, max(step) AS last_step, bool_or(part = 'optimizer') AS has_optimizer
        FROM attribute.training_passes
        GROUP BY lane
    ) AS b USING (lane)
    WHERE t.part = 'backward' AND NOT t.is_told AND (t.step > b.first_step OR b.first_step = b.last_step)
),
-- Without an optimizer a step is a run of passes, and forwards that were not recorded may show in a later one.
halved AS (
    SELECT lane
    FROM backward
    GROUP BY lane
    HAVING count(forward_id) > 0
        AND count(*) - count(forward_id) >= CASE WHEN any_value(has_optimizer) THEN 1 ELSE greatest(count(forward_id) / 2, 1) END
),
pass AS (
    SELECT phase, rank_count, gpu_busy_ns
    FROM rank SEMI JOIN talk USING (phase)
    WHERE rank_count > 1 AND (SELECT bool_and(NOT is_degree_told) FROM input.model)
),
found AS (
    SELECT phase, 'pass' AS shared, rank_count, gpu_busy_ns FROM pass
    UNION ALL
    SELECT phase, 'sequence', rank_count, gpu_busy_ns
    FROM rank SEMI JOIN split USING (phase) ANTI JOIN pass USING (phase)
    WHERE (SELECT bool_and(NOT is_split_told) FROM input.model)
)
SELECT phase, shared, rank_count, gpu_busy_ns FROM found
UNION ALL
SELECT phase, 'gradient', rank_count, gpu_busy_ns
FROM rank
WHERE phase = 'backward' AND EXISTS (FROM halved) AND phase NOT IN (SELECT phase FROM found)
