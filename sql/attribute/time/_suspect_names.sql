-- Kernels that causes are about, by name.
-- Grain: what, phase, name_id, full_name_id.
-- materialize: table
-- requires: attribute.phase_kernels, load.devices
-- columns:
--   what         VARCHAR 'copying': kernels that only copy, cast, gather or scatter. 'small': kernels of 5 µs on average that neither multiply,
--                        attend, copy nor communicate. 'plain': products in full fp32 or fp64 on a GPU with tensor cores. 'unaligned':
--                        products in 16 bits that load one or two elements at a time.
--   phase        VARCHAR Name of the phase, or NULL.
--   name_id      BIGINT  Joins load.strings.
--   full_name_id BIGINT  Joins load.strings.
--   name         VARCHAR What it is called in a message.
--   count        BIGINT  Measured kernels; of 'small', those with times.
--   time_ns      BIGINT  Sum of their durations. Unit: ns.
SELECT 'copying' AS what, phase, name_id, full_name_id, name, "count", time_ns FROM attribute.phase_kernels WHERE family = 'copy'
UNION ALL
SELECT 'small', phase, name_id, full_name_id, name, timed_count, time_ns
FROM attribute.phase_kernels
WHERE time_ns < 5000 * timed_count AND family IN ('elementwise', 'norm', 'activation', 'reduction', 'embedding', 'softmax and loss')
UNION ALL
-- CUTLASS' own kernels are all called `Kernel2`: the name of the product is in the template's arguments.
SELECT
    'plain', phase, name_id, full_name_id, coalesce(nullif(regexp_extract(full_name, '\w*simt_[sd]gemm\w*'), ''), name), "count", time_ns
FROM attribute.phase_kernels
WHERE regexp_matches(concat_ws(' ', name, full_name), '(?i)(^|[^a-z])[sd]gemm_|simt_[sd]gemm|_[fd]fma_')
    -- Volta, 7.0, was the first one with tensor cores.
    AND (SELECT min(TRY_CAST(split_part(compute_capability, '.', 1) AS INTEGER)) FROM load.devices WHERE has_work) >= 7
UNION ALL
SELECT
    'unaligned', phase, name_id, full_name_id, coalesce(nullif(regexp_extract(full_name, '\w*align[12]\b'), ''), name), "count", time_ns
FROM attribute.phase_kernels
WHERE family = 'gemm'
    AND regexp_matches(concat_ws(' ', name, full_name), 'tensorop\w*(bf16|f16|h16816|h884|_s16816|_s161616|_h161616)\w*align[12]\b')
