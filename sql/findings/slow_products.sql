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
-- requires: attribute.phase_spending, views.operators, views.operator_summary
-- columns:
--   phase       VARCHAR The phase, NULL outside every phase.
--   at_stake_ns BIGINT  What they take longer than the roofline says, at most the time of the class. Unit: ns.
--   budget_part VARCHAR 'compute'.
--   place       VARCHAR The phase in a sentence.
--   call_count  BIGINT  Such products.
--   name        VARCHAR The operator that loses most of the time.
--   shapes      VARCHAR Its shapes.
--   reached     DOUBLE  Its share of what the GPU could do.
WITH product AS (
    SELECT phase, operator AS name, shapes, calls, gpu_time_ns AS time_ns, sol_ns
    FROM views.operators
    WHERE regexp_matches(operator, '(^|::)_?(scaled_)?(addmm|mm|bmm|baddbmm|matmul|linear)$') AND flops > 0 AND sol_ns > 0
),
layered AS (
    SELECT phase, operator, shape, kernel_count, time_ns, sol_ns
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
)
SELECT
    s.phase, least(floor(l.lost_ns), s.compute_ns)::BIGINT AS at_stake_ns, 'compute' AS budget_part, s.place, l.call_count,
    l.most.name AS name, l.most.shapes AS shapes, l.most.reached AS reached
FROM attribute.phase_spending AS s JOIN lost AS l ON l.phase IS NOT DISTINCT FROM s.phase
WHERE l.lost_ns >= s.compute_ns / 10 AND least(l.lost_ns, s.compute_ns) >= s.least_ns
