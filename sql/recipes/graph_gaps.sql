-- How much of a CUDA graph's time is gaps between its nodes?
-- Needs --cuda-graph-trace=node; graphs recorded as a whole have no node times. Nodes that run side by side count once.
-- columns:
--   phase        VARCHAR  Name of the phase, or NULL.
--   graph_id     BIGINT   Graph.
--   launches     BIGINT   Launches.
--   node_count   DOUBLE   Nodes of a launch, on average.
--   mean_ns      DOUBLE   Mean time of a launch on the GPU. Unit: ns.
--   gap_ratio    DOUBLE   Share of it in which no node of the launch ran.
WITH node AS (
    SELECT {'p': process_id, 'd': device_id, 'a': api_id, 'g': graph_node_id >> 32} AS group_id, start_ns, end_ns
    FROM gpu_work
    WHERE graph_node_id IS NOT NULL AND kind <> 'graph'
)
SELECT
    l.phase, l.graph_id, count(*) AS launches, avg(l.node_count) AS node_count, avg(l.dur_ns) AS mean_ns,
    (1 - sum(b.busy_ns) / nullif(sum(l.dur_ns), 0))::DOUBLE AS gap_ratio
FROM graph_launches AS l
JOIN busy_ns('node') AS b ON b.group_id = {'p': l.process_id, 'd': l.device_id, 'a': l.api_id, 'g': l.graph_id}
WHERE l.mode = 'node'
GROUP BY l.phase, l.graph_id
ORDER BY l.phase NULLS LAST, launches DESC, l.graph_id
