-- Matrix products in full fp32 or fp64 on a GPU that has tensor cores.
-- Their names say so: `sgemm`, `dgemm`, CUTLASS' `simt`, cuBLAS' `ffma`. Those in TF32 or narrower have others. A tenth of the
-- kernel time.
-- Grain: phase.
-- severity: info
-- message: in {place} {kernel_count:,} matrix products run without tensor cores, most of the time `{name}`
-- hint: run the model in bf16, or allow TF32 (`torch.set_float32_matmul_precision("high")`); the class `compute` of `time_budget` shows
--   the effect
-- empty without: attribute.suspects WHERE what = 'plain'
-- requires: attribute.phase_spending, attribute.suspects
-- columns:
--   phase        VARCHAR The phase, NULL outside every phase.
--   at_stake_ns  BIGINT  Time in which one of them runs and nothing else does, at most that of the class. Unit: ns.
--   budget_part  VARCHAR 'compute'.
--   place        VARCHAR The phase in a sentence.
--   kernel_count BIGINT  Such kernels.
--   name         VARCHAR The one that takes most of the time.
SELECT
    s.phase, least(k.exposed_ns, s.compute_ns) AS at_stake_ns, 'compute' AS budget_part, s.place, k."count" AS kernel_count, k.name
FROM attribute.phase_spending AS s JOIN attribute.suspects AS k ON k.phase IS NOT DISTINCT FROM s.phase
WHERE k.what = 'plain' AND k.exposed_ns >= s.compute_ns / 10 AND at_stake_ns >= s.least_ns
