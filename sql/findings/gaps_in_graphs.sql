-- Phases whose GPU is idle between the nodes of CUDA graphs. No call launches a node, so fewer launches cure nothing there.
-- A twentieth of a phase's time. Launches of which a node has no times are left out: it may have run in the gap.
-- Grain: phase.
-- severity: info
-- message: in {place} the GPU is idle for {gap_ns:ms} between the nodes of CUDA graphs ({gap_count:,} gaps of {mean_us} µs on average):
--   nodes that wait for each other, and what the GPU needs to start one
-- hint: fewer, fused nodes, branches that run side by side, or programmatic dependent launch, by which a kernel begins while the one before it ends;
--   {recorder} makes the gaps longer while it records nodes{measured}. `graph_gaps` has them by graph: `llmperf sql TRACE --recipe graph_gaps`
-- empty without: attribute.graph_gaps
-- requires: attribute.graph_gaps, attribute.phase_ranges, attribute.phase_spending, load.recorder
-- columns:
--   phase       VARCHAR The phase, NULL outside every phase.
--   at_stake_ns BIGINT  Measured time of these gaps. Unit: ns.
--   budget_part VARCHAR 'latency'.
--   place       VARCHAR The phase in a sentence.
--   gap_count   BIGINT  Gaps.
--   gap_ns      BIGINT  Their time. Unit: ns.
--   mean_us     VARCHAR A mean one, in µs.
--   recorder    VARCHAR What recorded the trace.
--   measured    VARCHAR What shows by how much, '' if nothing does.
WITH gap AS (
    SELECT p.phase, sum(g.sure_count)::BIGINT AS gap_count, sum(g.sure_ns)::BIGINT AS gap_ns
    FROM attribute.graph_gaps AS g LEFT JOIN attribute.phase_ranges AS p USING (occurrence_id)
    GROUP BY p.phase
)
SELECT
    s.phase, least(g.gap_ns, s.latency_ns) AS at_stake_ns, 'latency' AS budget_part, s.place, g.gap_count, g.gap_ns,
    format('{:.1f}', g.gap_ns / g.gap_count / 1e3) AS mean_us, r.recorder,
    CASE WHEN r.recorder = 'nsys' THEN ': `capture --cuda-graph whole` shows by how much' ELSE '' END AS measured
FROM gap AS g JOIN attribute.phase_spending AS s ON s.phase IS NOT DISTINCT FROM g.phase CROSS JOIN load.recorder AS r
WHERE g.gap_count > 0 AND 20 * g.gap_ns >= s.phase_ns AND g.gap_ns >= s.least_ns
