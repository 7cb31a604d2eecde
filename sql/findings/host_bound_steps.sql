-- Phases whose GPU is idle while the host runs code outside every CUDA call.
-- A quarter of a phase's time: with less of it, curing all of it makes the phase less than a third faster.
-- Grain: phase.
-- severity: info
-- message: in {place} the GPU is idle while the host runs its own code{told}
-- hint: {cure}; the class `host` of `time_budget` shows the effect
-- requires: attribute.phase_spending, attribute.phase_launches, attribute.host_leaders
-- columns:
--   phase       VARCHAR The phase, NULL outside every phase.
--   at_stake_ns BIGINT  Time in which the GPU is idle and the host outside every CUDA call. Unit: ns.
--   budget_part VARCHAR 'host'.
--   place       VARCHAR The phase in a sentence.
--   cure        VARCHAR What helps mostly.
--   told        VARCHAR Launching calls of an occurrence, on average, and at_stake_ns for each; then the functions
--                       that samples of Python's stacks are in; '' if there are none.
SELECT
    s.phase, s.host_ns AS at_stake_ns, 'host' AS budget_part, s.place,
    CASE
        -- Between phases.
        WHEN s.phase IS NULL AND s.phase_ns < s.all_ns
            THEN 'look at what the program does there, such as sampling, tokenizing or reading data, and do it while the GPU runs'
        WHEN l.uses_graphs
            THEN 'CUDA graphs launch the work already: prepare the next step, and read results, while the GPU runs'
        ELSE 'CUDA graphs or torch.compile launch the same kernels with less host code (`capture --cuda-graphs`, `--compile`)'
    END AS cure,
    CASE
        WHEN l.per_step > 0
            THEN format(': {:,} launches a step, and {:,.1f} µs of host code for each',
                ceil(l.per_step)::BIGINT, s.host_ns / (l.per_step * s.step_count) / 1e3)
        ELSE ''
    END || coalesce('; Python spends ' || t.told, '') AS told
FROM attribute.phase_spending AS s
LEFT JOIN attribute.phase_launches AS l ON l.phase = s.phase
LEFT JOIN attribute.host_leaders AS t ON t.phase IS NOT DISTINCT FROM s.phase AND t.part = 'host'
WHERE s.host_ns >= s.phase_ns / 4 AND s.host_ns >= s.least_ns
