-- Whether the work in phases and the work outside them add up to everything that nsys recorded.
-- No operation may end before it starts. The recorded side is added up from nsys' own tables, per GPU.
-- Grain: name.
-- materialize: table
-- requires: nsys.CUPTI_ACTIVITY_KIND_KERNEL, nsys.CUPTI_ACTIVITY_KIND_MEMCPY, nsys.CUPTI_ACTIVITY_KIND_MEMSET, load.gpu_ops, load.device_map, attribute.work_by_occurrence
-- columns:
--   name   VARCHAR  Name of the check.
--   passed BOOLEAN  Whether it holds.
--   detail VARCHAR  The numbers.
WITH raw_kernel AS (
    SELECT
        coalesce(m.device_id, k.deviceId, 0) AS device_id, count(*) AS "count", sum(k."end" - k."start") AS time_ns
    FROM nsys.CUPTI_ACTIVITY_KIND_KERNEL AS k
    LEFT JOIN load.device_map AS m
        ON m.process_id = ((k.globalPid >> 24) & 16777215) AND m.cuda_device = k.deviceId
    GROUP BY ALL
),
split_kernel AS (
    SELECT device_id, sum(kernel_count) AS "count", sum(kernel_time_ns) AS time_ns
    FROM attribute.work_by_occurrence
    GROUP BY device_id
    HAVING sum(kernel_count) > 0
),
kernel AS (
    SELECT
        count(*) AS devices,
        coalesce(bool_and(coalesce(r."count" = s."count" AND r.time_ns = s.time_ns, false)), true) AS passed,
        coalesce(sum(s."count"), 0) AS split_count, coalesce(sum(r."count"), 0) AS raw_count,
        coalesce(sum(s.time_ns), 0) AS split_ns, coalesce(sum(r.time_ns), 0) AS raw_ns
    FROM raw_kernel AS r
    FULL JOIN split_kernel AS s ON s.device_id IS NOT DISTINCT FROM r.device_id
),
raw_memop AS (
    SELECT "end" - "start" AS time_ns FROM nsys.CUPTI_ACTIVITY_KIND_MEMCPY
    UNION ALL SELECT "end" - "start" FROM nsys.CUPTI_ACTIVITY_KIND_MEMSET
),
memop AS (
    SELECT
        (SELECT count(*) FROM raw_memop) AS raw_count, (SELECT coalesce(sum(time_ns), 0) FROM raw_memop) AS raw_ns,
        coalesce(sum(memcpy_count + memset_count), 0) AS split_count,
        coalesce(sum(memcpy_time_ns + memset_time_ns), 0) AS split_ns
    FROM attribute.work_by_occurrence
),
graph AS (
    SELECT
        coalesce(sum(graph_launch_count), 0) AS split_count, coalesce(sum(graph_time_ns), 0) AS split_ns,
        (SELECT count(*) FROM load.gpu_ops WHERE kind = 'graph') AS raw_count,
        (SELECT coalesce(sum(end_ns - start_ns), 0) FROM load.gpu_ops WHERE kind = 'graph') AS raw_ns
    FROM attribute.work_by_occurrence
)
SELECT
    'conservation.kernels' AS name, passed,
    format('{:,} kernels, {:,} ns in phases and outside; {:,}, {:,} ns recorded; {} GPU(s)',
        split_count::BIGINT, split_ns::BIGINT, raw_count::BIGINT, raw_ns::BIGINT, devices) AS detail
FROM kernel
UNION ALL
SELECT
    'conservation.memops', split_count = raw_count AND split_ns = raw_ns,
    format('{:,} copies and fills, {:,} ns in phases and outside; {:,}, {:,} ns recorded',
        split_count::BIGINT, split_ns::BIGINT, raw_count::BIGINT, raw_ns::BIGINT)
FROM memop
UNION ALL
SELECT
    'conservation.graphs', split_count = raw_count AND split_ns = raw_ns,
    format('{:,} whole graphs, {:,} ns in phases and outside; {:,}, {:,} ns recorded',
        split_count::BIGINT, split_ns::BIGINT, raw_count::BIGINT, raw_ns::BIGINT)
FROM graph
UNION ALL
SELECT
    'work.ends_after_start', count(*) FILTER (WHERE end_ns < start_ns) = 0,
    format('{:,} of {:,} operations end before they start', count(*) FILTER (WHERE end_ns < start_ns), count(*))
FROM load.gpu_ops
