-- The framework's operators: what each cost in each phase, by the shapes of its inputs.
-- From `capture --ops`, torch's `emit_nvtx` or a trace of torch.profiler. Warm-up and cold occurrences are left out.
-- FLOPs are those of the products, attention and convolutions whose shapes say them; a call that only calls others has none, so that
-- no FLOP is in two rows. Attention counts all pairs of tokens unless the trace says that it is causal.
-- Grain: phase, module, operator, shapes; phase is NULL outside every phase. Empty without ranges of operators.
-- empty without: attribute.operator_calls
-- requires: attribute.operator_calls, attribute.operator_modules, attribute.occurrences, input.operator_shapes, input.peaks, macros.whole_sum
-- columns:
--   phase          VARCHAR  Name of the phase, NULL outside every phase.
--   module         VARCHAR  Innermost marked module in which it was called: 'layer.attn', 'layer.mlp' (of any layer), 'vision.tower',
--                           …; NULL outside those that are marked (`capture --layers`, stages of `--workload vlm` and `--auto`).
--   operator       VARCHAR  'aten::mm', ….
--   shapes         VARCHAR  Shapes of its inputs: '[[4, 8], [8, 2]]'; NULL where they were not recorded.
--   calls          BIGINT   Calls.
--   host_time_ns   BIGINT   Sum of their durations, a call inside a call of the same operator left out. Unit: ns.
--   host_self_ns   BIGINT   Without the operators that they called. Unit: ns.
--   gpu_time_ns    BIGINT   GPU work that was launched inside them, likewise. Unit: ns.
--   gpu_self_ns    BIGINT   Of this, what no operator that they called launched: adds up over all rows. Unit: ns.
--   gpu_self_ratio DOUBLE   Share of all operators' GPU time in the phase.
--   flops          HUGEINT  FLOPs of all calls. Unit: FLOP.
--   flops_per_s    DOUBLE   FLOPs of the calls that launched GPU work / GPU time. Unit: FLOP/s.
--   bytes          HUGEINT  Inputs and outputs, each once, in the format of the products. Unit: bytes.
--   sol_ns         DOUBLE   Speed of light of those calls: the longer of FLOPs at the peak and bytes at the bandwidth. Unit: ns.
--   roofline_ratio DOUBLE   sol_ns / GPU time: share of what the hardware could do.
WITH format(dtype, peak_of, bits) AS (
    VALUES ('fp4', 'fp4', 4), ('fp8', 'fp8', 8), ('int8', 'int8', 8), ('16-bit', 'bf16', 16), ('tf32', 'tf32', 32),
        ('fp32', 'fp32', 32)
),
summed AS (
    SELECT
        o.phase, m.module, c.operator, c.shapes, c.arguments, count(*) AS calls,
        -- Others ran on the host, or were recorded into a CUDA graph.
        nullif(count(*) FILTER (WHERE c.gpu_ns > 0), 0) AS gpu_calls,
        sum(CASE WHEN c.is_repeated THEN 0 ELSE c.host_ns END) AS host_ns, sum(c.host_self_ns) AS host_self_ns,
        sum(CASE WHEN c.is_repeated THEN 0 ELSE c.gpu_ns END) AS gpu_ns, sum(c.gpu_self_ns) AS gpu_self_ns,
        max_by(c.dtype, (c.gpu_self_ns, c.dtype)) FILTER (WHERE c.dtype IS NOT NULL) AS dtype,
        min(c.device_id) AS device_id
    FROM attribute.operator_calls AS c
    LEFT JOIN attribute.operator_modules AS m USING (range_id)
    LEFT JOIN attribute.occurrences AS o USING (occurrence_id)
    WHERE c.occurrence_id IS NULL OR o.is_measured
    GROUP BY ALL
),
costed AS (
    SELECT
        s.*, s.calls * cost.flops::HUGEINT AS flops, s.calls * cost.elements::HUGEINT * f.bits // 8 AS bytes,
        s.gpu_calls * cost.flops::HUGEINT AS gpu_flops, s.gpu_calls * cost.flops / p.flops_per_s * 1e9 AS compute_ns,
        s.gpu_calls * cost.elements * f.bits / 8 / p.bandwidth_bytes_per_s * 1e9 AS memory_ns
    FROM summed AS s
    LEFT JOIN input.operator_shapes AS cost
        ON cost.operator = s.operator AND cost.shapes = s.shapes AND cost.arguments IS NOT DISTINCT FROM s.arguments
    LEFT JOIN format AS f ON f.dtype = s.dtype
    LEFT JOIN input.peaks AS p ON p.device_id = s.device_id AND p.dtype = f.peak_of
),
grouped AS (
    SELECT
        phase, module, operator, shapes, sum(calls)::BIGINT AS calls, sum(host_ns)::BIGINT AS host_time_ns,
        sum(host_self_ns)::BIGINT AS host_self_ns, sum(gpu_ns)::BIGINT AS gpu_time_ns, sum(gpu_self_ns)::BIGINT AS gpu_self_ns,
        macros.whole_sum(flops) AS flops,
        CASE WHEN count(flops) = count(*) THEN sum(gpu_flops) END AS gpu_flops,
        macros.whole_sum(bytes) AS bytes,
        CASE WHEN count(compute_ns) = count(gpu_calls) AND count(memory_ns) = count(gpu_calls) THEN sum(greatest(compute_ns, memory_ns)) END
            AS sol_ns
    FROM costed
    GROUP BY phase, module, operator, shapes
)
SELECT
    phase, module, operator, shapes, calls, host_time_ns, host_self_ns, gpu_time_ns, gpu_self_ns,
    (gpu_self_ns / nullif(sum(gpu_self_ns) OVER (PARTITION BY phase), 0))::DOUBLE AS gpu_self_ratio,
    flops, gpu_flops / nullif(gpu_time_ns, 0) * 1e9 AS flops_per_s, bytes, sol_ns,
    sol_ns / nullif(gpu_time_ns, 0) AS roofline_ratio
FROM grouped
