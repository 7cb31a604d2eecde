-- Phases whose matrix products ran in another number format than the one that their FLOPs are divided by the peak of.
-- Mixed precision is the usual case: the config says float32, and autocast runs the products in bf16.
-- Grain: phase; told where most of the time of its matrix products is of kernels whose names say another format.
-- severity: error
-- message: {share:%} of the time of matrix products in {phase} is of {kernel_dtype} kernels, and they are counted as {dtype}: MFU is of
--   another peak
-- hint: pass --dtype with the format that ran (and --weight-dtype for quantized weights)
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: input.pass_ops
-- requires: attribute.kernel_totals, attribute.kernel_families, estimate.phase_costs, input.pass_ops, load.strings, macros.product_dtype
-- columns:
--   phase        VARCHAR The phase.
--   at_stake_ns  BIGINT  Time of these kernels, warm-up left out. Unit: ns.
--   dtype        VARCHAR The format that most FLOPs of products are counted in.
--   kernel_dtype VARCHAR The format of the kernels.
--   share        DOUBLE  Their part of the time of all matrix products.
WITH kernel AS (
    SELECT
        k.phase, k.time_ns - k.warmup_ns AS time_ns, macros.product_dtype(short.value, long.value) AS kernel_dtype
    FROM attribute.kernel_totals AS k
    JOIN attribute.kernel_families AS f ON f.name_id = k.name_id AND f.full_name_id IS NOT DISTINCT FROM k.full_name_id
    LEFT JOIN load.strings AS short ON short.string_id = k.name_id
    LEFT JOIN load.strings AS long ON long.string_id = k.full_name_id
    WHERE f.family IN ('gemm', 'gemv')
),
by_dtype AS (
    SELECT
        phase, kernel_dtype, sum(time_ns)::BIGINT AS time_ns,
        sum(time_ns) / nullif(sum(sum(time_ns)) OVER (PARTITION BY phase), 0) AS share
    FROM kernel
    GROUP BY phase, kernel_dtype
)
SELECT b.phase, b.time_ns AS at_stake_ns, o.dtype, b.kernel_dtype, b.share
FROM by_dtype AS b
JOIN input.pass_ops AS o USING (phase)
-- Without FLOPs nothing is divided.
SEMI JOIN estimate.phase_costs AS c ON c.phase = b.phase
WHERE b.share > 0.5 AND b.kernel_dtype <> CASE WHEN o.dtype IN ('bf16', 'fp16') THEN '16-bit' ELSE o.dtype END
