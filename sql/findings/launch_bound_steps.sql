-- Phases whose GPU is idle while launching calls run, or between their return and the start of their work.
-- A quarter of a phase's time: with less of it, curing all of it makes the phase less than a third faster.
-- Grain: phase.
-- severity: info
-- message: in {place} the GPU is idle for launches: {launch_ns:ms} inside launching calls, and {latency_ns:ms} from their return to
--   the start of their work
-- hint: {cure}; the classes `launch` and `latency` of `time_budget` show the effect
-- requires: attribute.phase_spending, attribute.phase_launches
-- columns:
--   phase       VARCHAR The phase, NULL outside every phase.
--   at_stake_ns BIGINT  Idle time inside launching calls, and after their return. Unit: ns.
--   budget_part VARCHAR 'launch+latency'.
--   place       VARCHAR The phase in a sentence.
--   cure        VARCHAR What helps mostly.
--   launch_ns   BIGINT  Part of it inside the calls. Unit: ns.
--   latency_ns  BIGINT  Part of it after their return. Unit: ns.
SELECT
    s.phase, launch_ns + latency_ns AS at_stake_ns, 'launch+latency' AS budget_part, s.place,
    CASE
        WHEN l.uses_graphs
            THEN 'CUDA graphs launch the work already: nsys slows their launch down while it records their nodes, '
                || '`capture --cuda-graph whole` shows by how much; after that, fewer nodes help'
        ELSE 'fewer launches: CUDA graphs (`capture --cuda-graphs`), torch.compile, fused kernels'
    END AS cure,
    launch_ns, latency_ns
FROM attribute.phase_spending AS s LEFT JOIN attribute.phase_launches AS l ON l.phase = s.phase
WHERE launch_ns + latency_ns >= phase_ns / 4 AND launch_ns + latency_ns >= least_ns
