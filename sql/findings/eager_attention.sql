-- Attention that writes its scores to memory: products, a softmax kernel and products, instead of one kernel of the FlashAttention kind.
-- Algorithm: no kernel of the phase belongs to the family `attention`, and four softmax kernels or more run in a step: a sampler has
-- one or two, and no product after them. What such attention takes are the kernels from the product before each softmax to the product
-- after it, on its stream, in one occurrence. Where something is sorted in between, or the largest are taken, or sent to other ranks,
-- the softmax is a router's.
-- A tenth of the kernel time.
-- Grain: phase.
-- severity: info
-- message: in {place} no kernel is a fused attention, and {per_step:,} softmax kernels a step stand between matrix products: attention
--   writes its scores to memory
-- hint: attn_implementation="sdpa" or "flash_attention_2", or `torch.nn.functional.scaled_dot_product_attention` with a mask that its
--   fused kernels take; the class `compute` of `time_budget` shows the effect
-- empty without: attribute.phase_kernels WHERE regexp_matches(name, '(?i)softmax')
-- requires: attribute.phase_spending, attribute.phase_kernels, attribute.gpu_work, attribute._overlapping_ops, attribute._unmeasured_ops,
--   attribute.occurrences, attribute.kernel_families, load.strings, macros.hidden_ns
-- columns:
--   phase       VARCHAR The phase, NULL in a trace without phases.
--   at_stake_ns BIGINT  Time in which one of these kernels runs and nothing else does, at most that of the class. Unit: ns.
--   budget_part VARCHAR 'compute'.
--   place       VARCHAR The phase in a sentence.
--   per_step    BIGINT  Softmax kernels between products of an occurrence, on average.
WITH candidate AS (
    SELECT
        s.phase, s.place, s.compute_ns, s.least_ns, s.step_count
    FROM attribute.phase_spending AS s JOIN attribute.phase_kernels AS k ON k.phase IS NOT DISTINCT FROM s.phase
    WHERE s.phase IS NOT NULL OR (SELECT count(*) FROM attribute.occurrences) = 0
    GROUP BY s.phase, s.place, s.compute_ns, s.least_ns, s.step_count
    HAVING NOT bool_or(k.family = 'attention')
        AND sum(k."count") FILTER (WHERE k.family = 'softmax and loss' AND regexp_matches(k.name, '(?i)softmax')) >= 4 * s.step_count
),
kernel AS (
    SELECT
        c.phase, w.occurrence_id, w.device_id, w.stream_id, w.start_ns, w.op_id, w.end_ns - w.start_ns AS time_ns,
        coalesce(f.family IN ('gemm', 'gemv'), false) AS is_product,
        coalesce(f.family = 'softmax and loss' AND regexp_matches(n.value, '(?i)softmax'), false) AS is_softmax,
        coalesce(f.family = 'communication' OR regexp_matches(n.value, '(?i)topk|sort'), false) AS is_routing
    FROM attribute.gpu_work AS w
    LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    JOIN candidate AS c ON c.phase IS NOT DISTINCT FROM p.phase
    LEFT JOIN attribute.kernel_families AS f ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id
    LEFT JOIN load.strings AS n ON n.string_id = w.name_id
    ANTI JOIN attribute._unmeasured_ops AS u ON u.op_id = w.op_id
    WHERE w.kind = 'kernel' AND coalesce(p.is_measured, true) AND (SELECT count(*) FROM candidate) > 0
),
-- Products number the stretches: the one that opens a stretch belongs to it, and to the one before. What is before the first product or
-- behind the last one is between none.
numbered AS (
    SELECT *, sum(is_product::INTEGER) OVER (PARTITION BY phase, occurrence_id, device_id, stream_id ORDER BY start_ns, op_id) AS stretch
    FROM kernel
),
stretch AS (
    SELECT
        phase, occurrence_id, device_id, stream_id, stretch,
        bool_or(is_softmax) AND NOT bool_or(is_routing) AND stretch > 0 AND lead(true, 1, false) OVER lane AS has_softmax,
        lag(bool_or(is_softmax) AND NOT bool_or(is_routing) AND stretch > 0, 1, false) OVER lane AS is_after
    FROM numbered
    GROUP BY phase, occurrence_id, device_id, stream_id, stretch
    WINDOW lane AS (PARTITION BY phase, occurrence_id, device_id, stream_id ORDER BY stretch)
),
member AS MATERIALIZED (
    SELECT n.phase AS group_id, n.op_id, n.time_ns, n.is_softmax AND s.has_softmax AS is_softmax
    FROM numbered AS n
    JOIN stretch AS s
        ON s.phase IS NOT DISTINCT FROM n.phase AND s.occurrence_id IS NOT DISTINCT FROM n.occurrence_id AND s.device_id = n.device_id AND s.stream_id IS NOT DISTINCT FROM n.stream_id AND s.stretch = n.stretch
    WHERE s.has_softmax OR (s.is_after AND n.is_product)
),
attended AS (
    SELECT m.phase, m.softmax_count, (m.time_ns - coalesce(h.hidden_ns, 0))::BIGINT AS exposed_ns
    FROM (
        SELECT group_id AS phase, sum(time_ns) AS time_ns, count(*) FILTER (WHERE is_softmax) AS softmax_count FROM member GROUP BY group_id
    ) AS m
    LEFT JOIN macros.hidden_ns('member', 'attribute._overlapping_ops') AS h ON h.group_id IS NOT DISTINCT FROM m.phase
)
SELECT
    c.phase, least(a.exposed_ns, c.compute_ns) AS at_stake_ns, 'compute' AS budget_part, c.place, (a.softmax_count / c.step_count)::BIGINT AS per_step
FROM candidate AS c JOIN attended AS a ON a.phase IS NOT DISTINCT FROM c.phase
WHERE a.softmax_count >= 4 * c.step_count AND a.exposed_ns >= c.compute_ns / 10 AND at_stake_ns >= c.least_ns
