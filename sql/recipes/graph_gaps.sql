-- How much of a CUDA graph's time is gaps between its nodes?
-- Needs --cuda-graph-trace=node; graphs recorded as a whole have no node times.
-- columns:
--   phase        VARCHAR  Name of the phase, or NULL.
--   graph_id     BIGINT   Graph.
--   launches     BIGINT   Launches.
--   node_count   DOUBLE   Nodes of a launch, on average.
--   mean_ns      DOUBLE   Mean time of a launch on the GPU. Unit: ns.
--   gap_ratio    DOUBLE   Share of it in which no node ran, where nodes do not overlap.
SELECT
    phase, graph_id, count(*) AS launches, avg(node_count) AS node_count, avg(dur_ns) AS mean_ns,
    (1 - sum(node_time_ns) / nullif(sum(dur_ns), 0))::DOUBLE AS gap_ratio
FROM graph_launches
WHERE mode = 'node'
GROUP BY phase, graph_id
ORDER BY phase NULLS LAST, launches DESC, graph_id
