-- Matrix products in 16 bits whose operands are not aligned to 16 bytes: a dimension is no multiple of 8.
-- CUTLASS has the elements of a load in the kernel's name: `align8` is 16 bytes, `align1` and `align2` are what is left for other
-- dimensions. A tenth of the kernel time.
-- Grain: phase.
-- severity: info
-- message: in {place} {kernel_count:,} matrix products load one or two elements at a time, most of the time `{name}`: a dimension is no
--   multiple of 8
-- hint: pad the dimension (vocabulary, heads, batch) to a multiple of 64, or at least of 8; the class `compute` of `time_budget` shows
--   the effect
-- empty without: attribute.suspects WHERE what = 'unaligned'
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
WHERE k.what = 'unaligned' AND k.exposed_ns >= s.compute_ns / 10 AND at_stake_ns >= s.least_ns
