-- What runs from CUDA graphs, and what is launched one by one?
-- Node rows and whole graphs both count as graph work.
-- columns:
--   phase          VARCHAR  Name of the phase, or NULL.
--   graph_launches BIGINT   Launches of graphs; of nodes, those whose call was recorded.
--   graph_time_ns  BIGINT   GPU time of what they ran. Unit: ns.
--   eager_launches BIGINT   Kernels, copies and fills launched one by one.
--   eager_time_ns  BIGINT   Their GPU time. Unit: ns.
--   graph_ratio    DOUBLE   graph_time_ns / (graph_time_ns + eager_time_ns).
WITH work AS (
    SELECT
        phase,
        count(DISTINCT api_id) FILTER (WHERE kind = 'graph' OR graph_node_id IS NOT NULL) + count(*) FILTER (WHERE kind = 'graph' AND api_id IS NULL)
            AS graph_launches,
        coalesce(sum(dur_ns) FILTER (WHERE kind = 'graph' OR graph_node_id IS NOT NULL), 0)::BIGINT AS graph_time_ns,
        count(*) FILTER (WHERE kind <> 'graph' AND graph_node_id IS NULL) AS eager_launches,
        coalesce(sum(dur_ns) FILTER (WHERE kind <> 'graph' AND graph_node_id IS NULL), 0)::BIGINT AS eager_time_ns
    FROM gpu_work
    GROUP BY phase
)
SELECT
    phase, graph_launches, graph_time_ns, eager_launches, eager_time_ns,
    graph_time_ns / nullif(graph_time_ns + eager_time_ns, 0) AS graph_ratio
FROM work
ORDER BY phase NULLS LAST
