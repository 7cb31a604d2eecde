-- GPU work that tells where a pass through a model starts, ends, and what it is; none if no kernel can tell one.
-- A table of its own, so that DuckDB knows how few rows it has before it joins them with all calls.
-- Grain: op_id.
-- materialize: temporary
-- requires: load.gpu_ops, load.memop_details, attribute._kernel_roles
-- columns:
--   op_id          BIGINT   Joins load.gpu_ops.
--   process_key    BIGINT   Joins load.processes.
--   correlation_id BIGINT   Joins load.api_calls within one process.
--   start_ns       BIGINT   Start on the GPU. Unit: ns.
--   role           VARCHAR  As in attribute._telling_launches.
--   kind_id        BIGINT   Same for the same kernel or graph.
--   is_few         BOOLEAN  As in attribute._kernel_roles.
--   tile_rows      BIGINT   As in attribute._kernel_roles.
--   blocks         BIGINT   Blocks of its grid, 0 if that is not known.
WITH direction AS (
    SELECT
        op_id, CASE direction WHEN 'Device-to-Host' THEN 'to_host' WHEN 'Host-to-Device' THEN 'to_device' END AS role
    FROM load.memop_details
    WHERE direction IN ('Device-to-Host', 'Host-to-Device')
),
-- Without these there is no pass to be told: nothing is read then.
hopeful AS (
    SELECT count(*) FILTER (WHERE role IN ('attention', 'recurrence', 'softmax', 'sample')) > 0
        OR count(*) FILTER (WHERE role = 'optimizer') * count(*) FILTER (WHERE role = 'backward') > 0 AS is_hopeful
    FROM attribute._kernel_roles
),
op AS (
    SELECT * FROM load.gpu_ops WHERE (SELECT is_hopeful FROM hopeful)
)
SELECT
    o.op_id, o.process_key, o.correlation_id, o.start_ns, r.role, o.full_name_id AS kind_id, r.is_few,
    r.tile_rows, coalesce(o.blocks, 0) AS blocks
FROM op AS o JOIN attribute._kernel_roles AS r ON r.name_id IS NOT DISTINCT FROM o.name_id
    AND r.full_name_id IS NOT DISTINCT FROM o.full_name_id
WHERE o.kind = 'kernel'
UNION ALL
SELECT op_id, process_key, correlation_id, start_ns, 'graph', graph_node_id, false, NULL, 0
FROM op
WHERE kind = 'graph'
UNION ALL
SELECT o.op_id, o.process_key, o.correlation_id, o.start_ns, d.role, NULL, false, NULL, 0
FROM op AS o JOIN direction AS d USING (op_id)
