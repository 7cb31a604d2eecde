-- Matrix products in full fp32 or fp64 on a GPU that has tensor cores.
-- Their names say so: `sgemm`, `dgemm`, CUTLASS' `simt`, cuBLAS' `ffma`. Those in TF32 or narrower have others. A tenth of the
-- kernel time.
-- Grain: phase.
-- severity: info
-- message: in {place} {kernel_count:,} matrix products run without tensor cores, most of the time `{name}`
-- hint: run the model in bf16, or allow TF32 (`torch.set_float32_matmul_precision("high")`); the class `compute` of `time_budget` shows
--   the effect
-- empty without: attribute.phase_kernels WHERE regexp_matches(concat_ws(' ', name, full_name), '(?i)[sd]gemm|_[fd]fma_')
-- requires: attribute.phase_spending, attribute.phase_kernels, load.devices
-- columns:
--   phase        VARCHAR The phase, NULL outside every phase.
--   at_stake_ns  BIGINT  Their time, at most that of the class. Unit: ns.
--   budget_part  VARCHAR 'compute'.
--   place        VARCHAR The phase in a sentence.
--   kernel_count BIGINT  Such kernels.
--   name         VARCHAR The one that takes most of the time.
WITH plain AS (
    SELECT
        phase, sum(time_ns)::BIGINT AS time_ns, sum("count")::BIGINT AS kernel_count,
        -- CUTLASS' own kernels are all called `Kernel2`: the name of the product is in the template's arguments.
        arg_max(coalesce(nullif(regexp_extract(full_name, '\w*simt_[sd]gemm\w*'), ''), name), (time_ns, full_name)) AS name
    FROM attribute.phase_kernels
    WHERE regexp_matches(concat_ws(' ', name, full_name), '(?i)(^|[^a-z])[sd]gemm_|simt_[sd]gemm|_[fd]fma_')
        -- Volta, 7.0, was the first one with tensor cores.
        AND (SELECT min(TRY_CAST(split_part(compute_capability, '.', 1) AS INTEGER)) FROM load.devices WHERE has_work) >= 7
    GROUP BY phase
)
SELECT
    s.phase, least(k.time_ns, s.compute_ns) AS at_stake_ns, 'compute' AS budget_part, s.place, k.kernel_count, k.name
FROM attribute.phase_spending AS s JOIN plain AS k ON k.phase IS NOT DISTINCT FROM s.phase
WHERE k.time_ns >= s.compute_ns / 10 AND least(k.time_ns, s.compute_ns) >= s.least_ns
