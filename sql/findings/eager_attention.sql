-- Attention that writes its scores to memory: products, a softmax kernel and products, instead of one kernel of the FlashAttention kind.
-- Algorithm: no kernel of the phase belongs to the family `attention`, and four softmax kernels or more run in a step: a sampler has
-- one or two. What such attention takes are the kernels from the product before each softmax to the product after it, on its stream.
-- A tenth of the kernel time.
-- Grain: phase.
-- severity: info
-- message: in {place} no kernel is a fused attention, and {per_step:,} softmax kernels a step stand between matrix products: attention
--   writes its scores to memory
-- hint: attn_implementation="sdpa" or "flash_attention_2", or `torch.nn.functional.scaled_dot_product_attention` with a mask that its
--   fused kernels take; the class `compute` of `time_budget` shows the effect
-- empty without: attribute.phase_kernels WHERE regexp_matches(name, '(?i)softmax')
-- requires: attribute.phase_spending, attribute.phase_kernels, attribute.gpu_work, attribute.occurrences, attribute.kernel_families, load.strings
-- columns:
--   phase       VARCHAR The phase, NULL in a trace without phases.
--   at_stake_ns BIGINT  Time of these kernels, at most that of the class. Unit: ns.
--   budget_part VARCHAR 'compute'.
--   place       VARCHAR The phase in a sentence.
--   per_step    BIGINT  Softmax kernels of an occurrence, on average.
WITH candidate AS (
    SELECT
        s.phase, s.place, s.compute_ns, s.least_ns,
        (sum(k."count") FILTER (WHERE regexp_matches(k.name, '(?i)softmax')) / any_value(s.step_count))::BIGINT AS per_step
    FROM attribute.phase_spending AS s JOIN attribute.phase_kernels AS k ON k.phase IS NOT DISTINCT FROM s.phase
    WHERE s.phase IS NOT NULL OR (SELECT count(*) FROM attribute.occurrences) = 0
    GROUP BY s.phase, s.place, s.compute_ns, s.least_ns
    HAVING NOT bool_or(k.family = 'attention')
        AND sum(k."count") FILTER (WHERE regexp_matches(k.name, '(?i)softmax')) >= 4 * any_value(s.step_count)
),
kernel AS (
    SELECT
        c.phase, w.device_id, w.stream_id, w.start_ns, w.op_id, w.end_ns - w.start_ns AS time_ns,
        coalesce(f.family IN ('gemm', 'gemv'), false) AS is_product,
        coalesce(f.family = 'softmax and loss' AND regexp_matches(n.value, '(?i)softmax'), false) AS is_softmax
    FROM attribute.gpu_work AS w
    LEFT JOIN attribute.occurrences AS p USING (occurrence_id)
    JOIN candidate AS c ON c.phase IS NOT DISTINCT FROM p.phase
    LEFT JOIN attribute.kernel_families AS f ON f.name_id = w.name_id AND f.full_name_id IS NOT DISTINCT FROM w.full_name_id
    LEFT JOIN load.strings AS n ON n.string_id = w.name_id
    WHERE w.kind = 'kernel' AND coalesce(p.is_measured, true) AND (SELECT count(*) FROM candidate) > 0
),
-- Products number the stretches: the one that opens a stretch belongs to it, and to the one before.
numbered AS (
    SELECT *, sum(is_product::INTEGER) OVER (PARTITION BY phase, device_id, stream_id ORDER BY start_ns, op_id) AS stretch
    FROM kernel
),
stretch AS (
    SELECT
        phase, device_id, stream_id, stretch, bool_or(is_softmax) AS has_softmax,
        coalesce(sum(time_ns) FILTER (WHERE is_product), 0) AS product_ns,
        coalesce(sum(time_ns) FILTER (WHERE NOT is_product), 0) AS other_ns
    FROM numbered
    GROUP BY phase, device_id, stream_id, stretch
),
attended AS (
    SELECT
        phase,
        sum(CASE
            WHEN has_softmax THEN product_ns + other_ns
            WHEN is_after THEN product_ns
            ELSE 0
        END) AS time_ns
    FROM (
        SELECT *, lag(has_softmax) OVER (PARTITION BY phase, device_id, stream_id ORDER BY stretch) AS is_after FROM stretch
    )
    GROUP BY phase
)
SELECT
    c.phase, least(a.time_ns, c.compute_ns)::BIGINT AS at_stake_ns, 'compute' AS budget_part, c.place, c.per_step
FROM candidate AS c JOIN attended AS a ON a.phase IS NOT DISTINCT FROM c.phase
WHERE a.time_ns >= c.compute_ns / 10 AND least(a.time_ns, c.compute_ns) >= c.least_ns
