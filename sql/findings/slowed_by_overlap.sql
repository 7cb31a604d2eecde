-- Kernels that take longer beside communication than the same kernels do alone.
-- A hundredth of all measured time, and four standard errors: all kernels of the phase that can be compared count, not only the slowed ones.
-- Grain: phase.
-- severity: info
-- message: in {place} kernels beside communication take {share:%} longer than the same kernels alone, {slowed_ns:ms} in all, most of it
--   `{name}`
-- hint: give communication fewer SMs (NCCL_MAX_CTAS), or let copy engines or the switch do it; the overlap pays as long as it hides
--   more: compare with `llmperf sql TRACE "from collective_summary"`
-- empty without: attribute.overlap_slowdown
-- requires: load.strings, attribute.overlap_slowdown, attribute.phase_spending
-- columns:
--   phase       VARCHAR The phase, NULL outside every phase.
--   at_stake_ns BIGINT  Time that they take longer, at most that of the class. Unit: ns.
--   budget_part VARCHAR 'compute'.
--   place       VARCHAR The phase in a sentence.
--   share       DOUBLE  slowed_ns of the time that they would have taken alone.
--   slowed_ns   BIGINT  How much longer they take. Unit: ns.
--   name        VARCHAR The one that is slowed most.
WITH slowed AS (
    SELECT
        o.phase, sum(o.slowed_ns)::BIGINT AS slowed_ns, sum(o.expected_ns) AS expected_ns, sqrt(sum(o.variance ORDER BY o.variance)) AS error_ns,
        arg_max(s.value, (o.slowed_ns, s.value)) AS name
    FROM attribute.overlap_slowdown AS o JOIN load.strings AS s ON s.string_id = o.name_id
    GROUP BY o.phase
)
SELECT
    s.phase, least(k.slowed_ns, s.compute_ns) AS at_stake_ns, 'compute' AS budget_part, s.place,
    k.slowed_ns / k.expected_ns AS share, k.slowed_ns, k.name
FROM attribute.phase_spending AS s JOIN slowed AS k ON k.phase IS NOT DISTINCT FROM s.phase
WHERE k.slowed_ns > 0 AND k.slowed_ns >= 4 * k.error_ns AND least(k.slowed_ns, s.compute_ns) >= s.least_ns
