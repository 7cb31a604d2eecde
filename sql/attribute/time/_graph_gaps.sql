-- Idle time of a GPU between two nodes of one launch of a CUDA graph, as far as it is `latency` in the budget.
-- Algorithm: the operation that ends the gap is a node, and a node of the same launch has started before the gap on the same GPU.
-- Grain: span_id.
-- materialize: table
-- empty without: attribute.gpu_work WHERE graph_node_id IS NOT NULL
-- requires: attribute._device_order, attribute.gpu_work
-- columns:
--   span_id       BIGINT  Number of the gap.
--   group_id      BIGINT  Its GPU: what macros.covered groups by.
--   occurrence_id BIGINT  Phase of the node that ends it. Joins attribute.phase_ranges.
--   start_ns      BIGINT  End of what ran before, or the return of the launching call if that is later. Unit: ns.
--   end_ns        BIGINT  Start of the node. Unit: ns.
--   is_sure       BOOLEAN Whether all nodes of the launch have times: one without may have run in the gap.
WITH launch AS (
    SELECT
        device_id, global_tid, launch_start_ns, min(start_ns) FILTER (end_ns > start_ns) AS start_ns,
        bool_and(end_ns > start_ns OR (end_ns = start_ns AND start_ns >= launch_start_ns)) AS is_sure
    FROM attribute.gpu_work
    WHERE graph_node_id IS NOT NULL AND launch_start_ns IS NOT NULL
    GROUP BY device_id, global_tid, launch_start_ns
)
SELECT
    row_number() OVER () AS span_id, o.device_id AS group_id, o.occurrence_id, greatest(o.reach_ns, o.launch_end_ns) AS start_ns,
    o.start_ns AS end_ns, l.is_sure
FROM attribute._device_order AS o
JOIN launch AS l
    ON l.device_id = o.device_id AND l.global_tid = o.global_tid AND l.launch_start_ns = o.launch_start_ns
WHERE o.end_ns IS NOT NULL AND l.start_ns < o.reach_ns AND greatest(o.reach_ns, o.launch_end_ns) < o.start_ns
