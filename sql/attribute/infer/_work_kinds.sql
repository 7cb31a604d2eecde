-- GPU work with what it has in common with other work, so that sequences of launches can be compared.
-- Nodes of one graph launch are alike: they are launched by one call.
-- Grain: op_id.
-- requires: load.gpu_ops
-- columns:
--   op_id          BIGINT   Joins load.gpu_ops.
--   process_key    BIGINT   Joins load.processes.
--   correlation_id BIGINT   Joins load.api_calls within one process.
--   start_ns       BIGINT   Start on the GPU. Unit: ns.
--   kind           VARCHAR  'kernel', 'memcpy', 'memset', or 'graph' for all that a graph launch runs.
--   kind_id        BIGINT   Same for the same kernel with a grid of the same size class (powers of 2), the same graph, or copies of
--                           the same size class, on the same GPU. Streams do not matter.
--   name_id        BIGINT   Same for the same kernel or graph.
--   full_name_id   BIGINT   Demangled kernel name, NULL for anything else. Joins load.strings.
WITH op AS (
    SELECT
        *, graph_node_id >> 32 AS graph_id,
        CASE WHEN graph_node_id IS NULL THEN kind::VARCHAR ELSE 'graph' END AS launch_kind,
        floor(log2(greatest(coalesce(blocks, bytes), 1)))::BIGINT AS size_class
    FROM load.gpu_ops
)
SELECT
    op_id, process_key, correlation_id, start_ns, launch_kind AS kind,
    CASE
        WHEN graph_id IS NULL THEN (hash(launch_kind, full_name_id, name_id, device_id, size_class) >> 1)::BIGINT
        ELSE (hash(launch_kind, graph_id, device_id) >> 1)::BIGINT
    END AS kind_id,
    CASE
        WHEN graph_id IS NULL THEN (hash(launch_kind, full_name_id, name_id) >> 1)::BIGINT
        ELSE (hash(launch_kind, graph_id) >> 1)::BIGINT
    END AS name_id,
    full_name_id
FROM op
