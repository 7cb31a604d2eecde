-- Phases whose matrix products ran in another number format than the one whose peak their FLOPs are divided by.
-- Mixed precision is the usual case: the config says float32, and autocast runs the products in bf16.
-- Where TF32 is on, the products of single rows run in fp32 all the same, as those of bf16 run without tensor cores.
-- Grain: phase; told where most of the time of its matrix products is of kernels whose names say another format.
-- severity: error
-- message: {share:%} of the matrix-product time of {phase} is in {kernel_dtype} kernels, but the estimate assumes {dtype}: its MFU
--   divides by the wrong peak
-- hint: pass --dtype with the format that ran (and --weight-dtype for quantized weights)
-- concerns: estimate.occurrence_costs, input.shape_ops, input.operator_costs
-- empty without: input.pass_ops
-- requires: attribute.phase_kernels, estimate.phase_costs, input.pass_ops, macros.product_dtype
-- columns:
--   phase        VARCHAR The phase.
--   at_stake_ns  BIGINT  Time of these kernels, warm-up and cold ones left out. Unit: ns.
--   dtype        VARCHAR The format that most FLOPs of products are counted in.
--   kernel_dtype VARCHAR The format of the kernels.
--   share        DOUBLE  Their part of the time of all matrix products.
WITH by_dtype AS (
    SELECT
        phase, macros.product_dtype(name, full_name) AS kernel_dtype, sum(time_ns)::BIGINT AS time_ns,
        sum(time_ns) / nullif(sum(sum(time_ns)) OVER (PARTITION BY phase), 0) AS share
    FROM attribute.phase_kernels
    WHERE family IN ('gemm', 'gemv')
    GROUP BY phase, macros.product_dtype(name, full_name)
)
SELECT b.phase, b.time_ns AS at_stake_ns, o.dtype, b.kernel_dtype, b.share
FROM by_dtype AS b
JOIN input.pass_ops AS o USING (phase)
-- Without FLOPs nothing is divided.
SEMI JOIN estimate.phase_costs AS c ON c.phase = b.phase
WHERE b.share > 0.5 AND b.kernel_dtype <> CASE WHEN o.dtype IN ('bf16', 'fp16') THEN '16-bit' ELSE o.dtype END
    AND NOT (
        o.dtype = 'tf32' AND b.kernel_dtype = 'fp32' AND EXISTS (FROM by_dtype AS a WHERE a.kernel_dtype = 'tf32' AND a.share > 0.5)
    )
