-- Kernels that only copy, cast, gather or scatter, beside those that compute.
-- A tenth of the kernel time: fused models have a few per cent, for their KV cache.
-- Grain: phase.
-- severity: info
-- message: in {place} {kernel_count:,} kernels only copy, cast, gather or scatter, most of the time `{name}`
-- hint: fuse them away (torch.compile), keep one dtype and layout, write the KV cache in place; the class `compute` of `time_budget`
--   and the family `copy` of `kernel_summary` show the effect
-- empty without: attribute.suspects WHERE what = 'copying'
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
WHERE k.what = 'copying' AND k.exposed_ns >= s.compute_ns / 10 AND at_stake_ns >= s.least_ns
