-- Phases whose GPU is idle while launching calls run, or between their return and the start of their work. Gaps between the nodes of
-- a CUDA graph, which no call launches, are gaps_in_graphs.
-- A quarter of a phase's time, those gaps included, of which launches have half: with less of it, curing all of it makes the phase less than a
-- third faster.
-- GPUs that take turns wait for each other, and not for launches: gpus_take_turns.
-- Grain: phase.
-- severity: info
-- message: in {place} the GPU is idle for launches: {launch_ns:ms} inside launching calls, and {latency_ns:ms} from their return to
--   the start of their work
-- hint: {cure}; the classes `launch` and `latency` of `time_budget` show the effect
-- empty without: attribute.phase_spending WHERE launch_ns + latency_ns >= phase_ns / 4
-- requires: attribute.graph_gaps, attribute.phase_ranges, attribute.phase_spending, attribute.phase_launches, attribute.turns
-- columns:
--   phase       VARCHAR The phase, NULL outside every phase.
--   at_stake_ns BIGINT  Idle time inside launching calls, and after their return. Unit: ns.
--   budget_part VARCHAR 'launch+latency'.
--   place       VARCHAR The phase in a sentence.
--   cure        VARCHAR What helps mostly.
--   launch_ns   BIGINT  Part of it inside the calls. Unit: ns.
--   latency_ns  BIGINT  Part of it after their return. Unit: ns.
WITH gap AS (
    SELECT p.phase, sum(g.gap_ns) AS gap_ns
    FROM attribute.graph_gaps AS g LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)
    GROUP BY p.phase
),
spent AS (
    SELECT
        s.phase, s.place, s.phase_ns, s.least_ns, s.launch_ns, s.launch_ns + s.latency_ns AS all_ns,
        greatest(0, s.latency_ns - coalesce(g.gap_ns, 0))::BIGINT AS latency_ns
    FROM attribute.phase_spending AS s LEFT JOIN gap AS g ON g.phase IS NOT DISTINCT FROM s.phase
)
SELECT
    s.phase, s.launch_ns + s.latency_ns AS at_stake_ns, 'launch+latency' AS budget_part, s.place,
    CASE
        WHEN l.uses_graphs
            THEN 'CUDA graphs launch the work already: nsys slows their launch down while it records their nodes, '
                || '`capture --cuda-graph whole` shows by how much; after that, fewer nodes help'
        ELSE 'fewer launches: CUDA graphs (`capture --cuda-graphs`), torch.compile, fused kernels'
    END AS cure,
    s.launch_ns, s.latency_ns
FROM spent AS s
LEFT JOIN attribute.phase_launches AS l ON l.phase = s.phase
ANTI JOIN attribute.turns AS t ON t.phase IS NOT DISTINCT FROM s.phase
WHERE s.all_ns >= s.phase_ns / 4 AND 2 * at_stake_ns >= s.all_ns AND at_stake_ns >= s.least_ns
