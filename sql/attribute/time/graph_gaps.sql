-- Measured time in which a GPU is idle between two nodes of one launch of a CUDA graph: part of the class `latency` of the budget.
-- No call launches a node: it starts when those that it depends on have ended, and the GPU has begun it.
-- Grain: device_id, occurrence_id.
-- materialize: table
-- empty without: attribute._graph_gaps
-- requires: attribute._graph_gaps, attribute._measured_windows, macros.covered
-- columns:
--   device_id     BIGINT  Joins load.devices.
--   occurrence_id BIGINT  Phase of the nodes. Joins attribute.phase_ranges, NULL outside every phase.
--   gap_count     BIGINT  Gaps.
--   gap_ns        BIGINT  Their time. Unit: ns.
--   sure_count    BIGINT  Of those, gaps of launches all of whose nodes have times.
--   sure_ns       BIGINT  Their time. Unit: ns.
SELECT
    g.group_id AS device_id, g.occurrence_id, count(*) FILTER (c.covered_ns > 0) AS gap_count, sum(c.covered_ns)::BIGINT AS gap_ns,
    count(*) FILTER (c.covered_ns > 0 AND g.is_sure) AS sure_count, coalesce(sum(c.covered_ns) FILTER (g.is_sure), 0)::BIGINT AS sure_ns
FROM attribute._graph_gaps AS g JOIN macros.covered('attribute._graph_gaps', 'attribute._measured_windows') AS c USING (span_id)
GROUP BY g.group_id, g.occurrence_id
HAVING sum(c.covered_ns) > 0
