-- Matrix products of known shape that reach less than a third of what the GPU could do in their number format.
-- The roofline of each: the longer of its FLOPs at the peak and its bytes at the bandwidth. Products of 10 µs and more: shorter ones
-- are about their start. Good kernels reach more than half. A tenth of the kernel time lost. Shapes are those that the framework
-- recorded, else those of the model in marked layers.
-- Grain: phase.
-- severity: info
-- message: in {place} {call_count:,} matrix products reach less than a third of what the GPU could do, most of the time is lost in
--   `{name}` of {shapes}: {reached:%}
-- hint: make dimensions multiples of 64 (pad the vocabulary, batch), join small products (one for q, k and v; batched ones) or batch more
--   tokens; `llmperf ncu` says what its kernel waits for; the class `compute` of `time_budget` shows the effect
-- empty without: attribute.operator_calls; views.operator_summary WHERE sol_ns > 0
-- requires: attribute.phase_spending, attribute.gpu_work, attribute.occurrences, attribute.operator_calls, attribute.operator_modules, attribute._overlapping_ops, estimate._named_kernels, input.occurrence_shapes, input.shapes, views.operators, views.operator_summary, macros.hidden_ns
-- columns:
--   phase       VARCHAR The phase, NULL in a trace without phases: which products outside every phase are in measured time is not told.
--   at_stake_ns BIGINT  What they take longer than the roofline says, at most the time in which one of them runs and nothing else does, and
--                       that of the class. Unit: ns.
--   budget_part VARCHAR 'compute'.
--   place       VARCHAR The phase in a sentence.
--   call_count  BIGINT  Such products that a GPU ran: calls that were recorded into a graph launched none.
--   name        VARCHAR The operator that loses most of the time.
--   shapes      VARCHAR Its shapes.
--   reached     DOUBLE  Its share of what the GPU could do.
WITH ran AS (
    SELECT o.phase, m.module, c.operator, c.shapes, count(*) AS calls
    FROM attribute.operator_calls AS c
    LEFT JOIN attribute.operator_modules AS m USING (range_id)
    LEFT JOIN attribute.occurrences AS o USING (occurrence_id)
    WHERE c.gpu_ns > 0 AND NOT c.is_repeated AND coalesce(o.is_measured, true)
    GROUP BY ALL
),
product AS (
    SELECT v.phase, v.module, v.operator AS name, v.shapes, r.calls, v.gpu_time_ns AS time_ns, v.sol_ns
    FROM views.operators AS v
    JOIN ran AS r
        ON r.operator = v.operator AND r.shapes = v.shapes AND r.phase IS NOT DISTINCT FROM v.phase AND r.module IS NOT DISTINCT FROM v.module
    WHERE regexp_matches(v.operator, '(^|::)_?(scaled_)?(addmm|mm|bmm|baddbmm|matmul|linear)$') AND v.flops > 0 AND v.sol_ns > 0
        AND (v.phase IS NOT NULL OR (SELECT count(*) FROM attribute.occurrences) = 0)
),
layered AS (
    SELECT phase, NULL AS module, operator, shape, kernel_count, time_ns, sol_ns
    FROM views.operator_summary
    WHERE operator IN ('qkv', 'o', 'gate_up', 'down', 'lm_head') AND sol_ns > 0 AND phase NOT IN (SELECT phase FROM product WHERE phase IS NOT NULL)
),
slow AS (
    SELECT * FROM (FROM product UNION ALL FROM layered)
    WHERE time_ns >= 10000 * calls AND 3 * sol_ns < time_ns
),
lost AS (
    SELECT
        phase, sum(time_ns - sol_ns) AS lost_ns, sum(calls)::BIGINT AS call_count,
        arg_max({'name': name, 'shapes': shapes, 'reached': sol_ns / time_ns}, (time_ns - sol_ns, name, shapes)) AS most
    FROM slow
    GROUP BY phase
),
worth AS (
    SELECT s.phase, s.place, s.compute_ns, s.least_ns, l.lost_ns, l.call_count, l.most
    FROM attribute.phase_spending AS s JOIN lost AS l ON l.phase IS NOT DISTINCT FROM s.phase
    WHERE l.lost_ns >= s.compute_ns / 10 AND least(l.lost_ns, s.compute_ns) >= s.least_ns
),
member AS MATERIALIZED (
    SELECT o.phase AS group_id, w.op_id, w.end_ns - w.start_ns AS time_ns
    FROM attribute.gpu_work AS w
    JOIN attribute.operator_calls AS c ON c.range_id = w.range_id
    LEFT JOIN attribute.operator_modules AS m ON m.range_id = c.range_id
    LEFT JOIN attribute.occurrences AS o ON o.occurrence_id = c.occurrence_id
    JOIN slow AS s
        ON s.name = c.operator AND s.shapes = c.shapes AND s.phase IS NOT DISTINCT FROM o.phase AND s.module IS NOT DISTINCT FROM m.module
    SEMI JOIN worth AS t ON t.phase IS NOT DISTINCT FROM o.phase
    WHERE w.kind = 'kernel' AND coalesce(o.is_measured, true)
    UNION ALL
    SELECT k.phase, k.op_id, k.time_ns
    FROM estimate._named_kernels AS k
    JOIN input.occurrence_shapes AS o USING (occurrence_id)
    JOIN input.shapes AS z USING (shape_id)
    JOIN (FROM slow SEMI JOIN layered USING (phase)) AS s ON s.phase = k.phase AND s.name = k.operator AND s.shapes = z.kind
    SEMI JOIN worth AS t ON t.phase = k.phase
),
alone AS (
    SELECT m.phase, m.time_ns - coalesce(h.hidden_ns, 0) AS exposed_ns
    FROM (SELECT group_id AS phase, sum(time_ns) AS time_ns FROM member GROUP BY group_id) AS m
    LEFT JOIN macros.hidden_ns('member', 'attribute._overlapping_ops') AS h ON h.group_id IS NOT DISTINCT FROM m.phase
)
SELECT
    t.phase, floor(least(t.lost_ns, a.exposed_ns, t.compute_ns))::BIGINT AS at_stake_ns, 'compute' AS budget_part, t.place, t.call_count,
    t.most.name AS name, t.most.shapes AS shapes, t.most.reached AS reached
FROM worth AS t JOIN alone AS a ON a.phase IS NOT DISTINCT FROM t.phase
WHERE at_stake_ns >= t.compute_ns / 10 AND at_stake_ns >= t.least_ns
