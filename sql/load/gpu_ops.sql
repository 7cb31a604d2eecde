-- Everything the GPU was recorded doing: kernels, copies, fills and whole CUDA graphs.
-- A graph row of a launch whose nodes were recorded too is left out, so that no nanosecond counts twice. Work that does
-- not say which GPU ran it counts as GPU 0's; load.session says how much that is.
-- Grain: op_id.
-- requires: nsys.CUPTI_ACTIVITY_KIND_KERNEL, nsys.CUPTI_ACTIVITY_KIND_MEMCPY, nsys.CUPTI_ACTIVITY_KIND_MEMSET, nsys.CUPTI_ACTIVITY_KIND_GRAPH_TRACE, load.processes, load.device_map
-- columns:
--   op_id          BIGINT   8 × row of the export + kind: 0 kernel, 1 memcpy, 2 memset, 3 graph.
--   kind           ENUM('kernel', 'memcpy', 'memset', 'graph')  What it is.
--   process_key    BIGINT   Joins load.processes, NULL where the export does not say and it cannot be told.
--   device_id      BIGINT   GPU of the machine. Joins load.devices.
--   stream_id      BIGINT   CUDA stream.
--   correlation_id BIGINT   Joins load.api_calls within one process. NULL for CUPTI's 0, which is unknown: kernels that
--                           kernels launch have it.
--   start_ns       BIGINT   Start on the GPU. Unit: ns.
--   end_ns         BIGINT   End on the GPU. Unit: ns.
--   name_id        BIGINT   Short kernel name, NULL for anything else. Joins load.strings.
--   full_name_id   BIGINT   Demangled kernel name, NULL for anything else. Joins load.strings.
--   graph_node_id  BIGINT   Graph << 32 | node when it ran inside a CUDA graph, else NULL.
--   bytes          BIGINT   Bytes copied or filled, NULL for kernels and graphs.
--   blocks         BIGINT   Blocks of a kernel's grid, NULL for anything else and where that was not recorded.
WITH op AS (
    SELECT
        row_id::BIGINT * 8 AS op_id, 'kernel' AS kind, globalPid, deviceId::BIGINT AS deviceId,
        streamId::BIGINT AS streamId, correlationId::BIGINT AS correlationId, "start", "end",
        shortName::BIGINT AS shortName, demangledName::BIGINT AS demangledName, graphNodeId, NULL::BIGINT AS bytes,
        -- No grid has more, so that sums fit 64 bits whatever a broken trace says.
        least(greatest(gridX::DOUBLE * gridY * gridZ, 0), 1e12)::BIGINT AS blocks
    FROM nsys.CUPTI_ACTIVITY_KIND_KERNEL
    UNION ALL
    SELECT
        row_id * 8 + 1, 'memcpy', globalPid, deviceId, streamId, correlationId, "start", "end",
        NULL, NULL, graphNodeId, bytes, NULL
    FROM nsys.CUPTI_ACTIVITY_KIND_MEMCPY
    UNION ALL
    SELECT
        row_id * 8 + 2, 'memset', globalPid, deviceId, streamId, correlationId, "start", "end",
        NULL, NULL, graphNodeId, bytes, NULL
    FROM nsys.CUPTI_ACTIVITY_KIND_MEMSET
    UNION ALL
    SELECT
        g.row_id * 8 + 3, 'graph', g.globalPid, g.deviceId, g.streamId, g.correlationId, g."start", g."end",
        NULL, NULL, g.graphId << 32, NULL, NULL
    FROM nsys.CUPTI_ACTIVITY_KIND_GRAPH_TRACE AS g
    ANTI JOIN (
        SELECT globalPid, correlationId FROM nsys.CUPTI_ACTIVITY_KIND_KERNEL WHERE graphNodeId <> 0
        UNION ALL
        SELECT globalPid, correlationId FROM nsys.CUPTI_ACTIVITY_KIND_MEMCPY WHERE graphNodeId <> 0
        UNION ALL
        SELECT globalPid, correlationId FROM nsys.CUPTI_ACTIVITY_KIND_MEMSET WHERE graphNodeId <> 0
    ) AS node ON node.correlationId = g.correlationId AND node.globalPid IS NOT DISTINCT FROM g.globalPid
)
SELECT
    op_id, kind::ENUM('kernel', 'memcpy', 'memset', 'graph') AS kind,
    -- Some exports do not say whose a row is: if one process made CUDA calls, its.
    coalesce(globalPid >> 24, (SELECT min(process_key) FROM load.processes WHERE has_api_call HAVING count(*) = 1)) AS process_key,
    coalesce(map.device_id, deviceId, 0) AS device_id,
    streamId AS stream_id, nullif(correlationId, 0) AS correlation_id, "start" AS start_ns, "end" AS end_ns,
    shortName AS name_id, demangledName AS full_name_id, nullif(graphNodeId, 0) AS graph_node_id, bytes,
    blocks
FROM op
LEFT JOIN load.device_map AS map
    ON map.process_id = ((globalPid >> 24) & 16777215) AND map.cuda_device = op.deviceId
