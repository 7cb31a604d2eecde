-- Which releases of nsys write an export with the tables and columns of this one: the newest of the changes that are in
-- it says the earliest release. For exports that do not say what wrote them.
-- Source: nsys' release notes of the SQLite schema. Exports leave out empty tables, so the true one may be newer.
-- Grain: one row.
-- materialize: table
-- requires: nsys.EXPORTED_COLUMNS
-- columns:
--   generation VARCHAR  Such as '2020–2021'.
WITH change(place, table_name, column_name, generation) AS (
    VALUES
        (7, 'CUPTI_ACTIVITY_KIND_KERNEL', 'graphId', '2025.5 or newer'),
        (7, 'CUPTI_ACTIVITY_KIND_KERNEL', 'clusterX', '2025.5 or newer'),
        (7, 'CUPTI_ACTIVITY_KIND_OVERHEAD', NULL, '2025.5 or newer'),
        (6, 'TARGET_INFO_CUDA_DEVICE', NULL, '2025.1–2025.3'),
        (6, 'CUPTI_ACTIVITY_KIND_MEMCPY', 'copyCount', '2025.1–2025.3'),
        (6, 'GPU_METRICS', 'rawTimestamp', '2025.1–2025.3'),
        (5, 'NVTX_EVENTS', 'binaryData', '2024.5–2024.6'),
        (5, 'NVTX_SCOPES', NULL, '2024.5–2024.6'),
        (4, 'CUPTI_ACTIVITY_KIND_KERNEL', 'greenContextId', '2024.2–2024.4'),
        (4, 'CUDA_GRAPH_NODE_EVENTS', NULL, '2024.2–2024.4'),
        (3, 'TARGET_INFO_CUDA_CONTEXT_INFO', NULL, '2023.4–2024.1'),
        (3, 'CUPTI_ACTIVITY_KIND_GRAPH_TRACE', NULL, '2023.4–2024.1'),
        (3, 'DIAGNOSTIC_EVENT', NULL, '2023.4–2024.1'),
        (2, 'META_DATA_CAPTURE', NULL, '2023.3'),
        (2, 'META_DATA_EXPORT', NULL, '2023.3'),
        (1, 'EXPORT_META_DATA', NULL, '2022.1–2023.2'),
        (1, 'CUPTI_ACTIVITY_KIND_KERNEL', 'graphNodeId', '2022.1–2023.2'),
        (1, 'CUPTI_ACTIVITY_KIND_KERNEL', 'mangledName', '2022.1–2023.2'),
        (1, 'CUDA_GRAPH_EVENTS', NULL, '2022.1–2023.2')
)
SELECT coalesce(arg_max(c.generation, c.place), '2020–2021') AS generation
FROM change AS c
SEMI JOIN nsys.EXPORTED_COLUMNS AS e
    ON e.table_name = c.table_name AND (c.column_name IS NULL OR e.column_name = c.column_name)
