-- What only copies and fills have: direction, kinds of memory, the value filled in.
-- Grain: op_id.
-- empty without: nsys.CUPTI_ACTIVITY_KIND_MEMCPY; nsys.CUPTI_ACTIVITY_KIND_MEMSET
-- requires: nsys.CUPTI_ACTIVITY_KIND_MEMCPY, nsys.CUPTI_ACTIVITY_KIND_MEMSET, load.copy_kinds
-- columns:
--   op_id         BIGINT   Joins load.gpu_ops.
--   direction     VARCHAR  'Host-to-Device', …; NULL for fills and where the export does not name it.
--   source_memory VARCHAR  'pageable', 'pinned', 'device', 'array', 'managed', …; NULL for fills.
--   target_memory VARCHAR  The same of where the bytes went.
--   value         BIGINT   What a fill wrote, NULL for copies.
WITH memory(kind_id, name) AS (
    VALUES (0, 'pageable'), (1, 'pinned'), (2, 'device'), (3, 'array'), (4, 'managed'), (5, 'device static'),
        (6, 'managed static'), (7, 'unknown')
)
SELECT c.row_id * 8 + 1 AS op_id, k."label" AS direction, s.name AS source_memory, t.name AS target_memory, NULL::BIGINT AS value
FROM nsys.CUPTI_ACTIVITY_KIND_MEMCPY AS c
LEFT JOIN load.copy_kinds AS k ON k.copy_kind_id = c.copyKind
LEFT JOIN memory AS s ON s.kind_id = c.srcKind
LEFT JOIN memory AS t ON t.kind_id = c.dstKind
UNION ALL
SELECT m.row_id * 8 + 2, NULL, NULL, t.name, m.value
FROM nsys.CUPTI_ACTIVITY_KIND_MEMSET AS m LEFT JOIN memory AS t ON t.kind_id = m.memKind
