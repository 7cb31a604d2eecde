-- Kernels that only copy, cast, gather or scatter, beside those that compute.
-- A tenth of the kernel time: fused models have a few per cent, for their KV cache.
-- Grain: phase.
-- severity: info
-- message: in {place} {kernel_count:,} kernels only copy, cast, gather or scatter, most of the time `{name}`
-- hint: fuse them away (torch.compile), keep one dtype and layout, write the KV cache in place; the class `compute` of `time_budget`
--   and the family `copy` of `kernel_summary` show the effect
-- empty without: attribute.phase_kernels WHERE family = 'copy'
-- requires: attribute.phase_spending, attribute.phase_kernels
-- columns:
--   phase        VARCHAR The phase, NULL outside every phase.
--   at_stake_ns  BIGINT  Their time, at most that of the class. Unit: ns.
--   budget_part  VARCHAR 'compute'.
--   place        VARCHAR The phase in a sentence.
--   kernel_count BIGINT  Such kernels.
--   name         VARCHAR The one that takes most of the time.
WITH copying AS (
    SELECT
        phase, sum(time_ns)::BIGINT AS time_ns, sum("count")::BIGINT AS kernel_count,
        arg_max(name, (time_ns, full_name)) AS name
    FROM attribute.phase_kernels
    WHERE family = 'copy'
    GROUP BY phase
)
SELECT
    s.phase, least(c.time_ns, s.compute_ns) AS at_stake_ns, 'compute' AS budget_part, s.place, c.kernel_count, c.name
FROM attribute.phase_spending AS s JOIN copying AS c ON c.phase IS NOT DISTINCT FROM s.phase
WHERE c.time_ns >= s.compute_ns / 10 AND least(c.time_ns, s.compute_ns) >= s.least_ns
