-- Short kernels that neither multiply, attend, copy nor communicate: a fusion would do many of them at once.
-- 5 µs on average: about what the hardware needs from one kernel to the next, so that such a kernel pays as much for its start as for
-- its work. A quarter of the kernel time, and twenty in a step: fewer are what any model has.
-- Grain: phase.
-- severity: info
-- message: in {place} {per_step:,} kernels a step take {each_ns:us} each and do little but start: `{name}` and others
-- hint: fuse elementwise and norm kernels (torch.compile, fused layers); the class `compute` of `time_budget` shows the effect
-- empty without: attribute.suspects WHERE what = 'small'
-- requires: attribute.phase_spending, attribute.suspects
-- columns:
--   phase       VARCHAR The phase, NULL outside every phase.
--   at_stake_ns BIGINT  Time in which one of them runs and nothing else does, at most that of the class. Unit: ns.
--   budget_part VARCHAR 'compute'.
--   place       VARCHAR The phase in a sentence.
--   per_step    BIGINT  Such kernels of an occurrence, on average.
--   each_ns     BIGINT  Their mean duration. Unit: ns.
--   name        VARCHAR The one that takes most of the time.
SELECT
    s.phase, least(k.exposed_ns, s.compute_ns) AS at_stake_ns, 'compute' AS budget_part, s.place, (k."count" / s.step_count)::BIGINT AS per_step,
    (k.time_ns / k."count")::BIGINT AS each_ns, k.name
FROM attribute.phase_spending AS s JOIN attribute.suspects AS k ON k.phase IS NOT DISTINCT FROM s.phase
WHERE k.what = 'small' AND k.exposed_ns >= s.compute_ns / 4 AND k."count" >= 20 * s.step_count AND at_stake_ns >= s.least_ns
