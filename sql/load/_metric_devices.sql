-- Which GPU the samples of a source of nsys' GPU metrics are of.
-- The lowest byte of a typeId is the number that nsys' sampler gives the GPU: `pwGpuId`, which on some machines is another
-- than CUDA's. A job of several files may have more GPUs than a byte counts: the rest of their number is in the highest
-- byte, nsys' number of the hardware, which is 0 in a file of its own.
-- Grain: source_id.
-- materialize: table
-- requires: nsys.GPU_METRICS, nsys.TARGET_INFO_GPU_METRICS, nsys.TARGET_INFO_GPU, load.device_map
-- columns:
--   source_id BIGINT  Joins load.gpu_metrics.
--   device_id BIGINT  Joins load.devices. NULL if it is not known.
WITH described AS (
    -- GPU work has nsys' number of the GPU if the export tells it, else CUDA's.
    SELECT DISTINCT pwGpuId AS number, CASE WHEN EXISTS (FROM load.device_map) THEN id ELSE coalesce(cuDevice, id) END AS device_id
    FROM nsys.TARGET_INFO_GPU
    WHERE pwGpuId IS NOT NULL AND id IS NOT NULL
),
known AS (
    SELECT number, device_id
    FROM described
    QUALIFY count(*) OVER (PARTITION BY number) = 1 AND count(*) OVER (PARTITION BY device_id) = 1
),
source AS (
    SELECT source_id, (source_id & 255) + 256 * (source_id >> 56) AS number
    FROM (SELECT typeId AS source_id FROM nsys.GPU_METRICS UNION SELECT typeId FROM nsys.TARGET_INFO_GPU_METRICS)
    WHERE source_id IS NOT NULL
)
SELECT s.source_id, coalesce(k.device_id, CASE WHEN s.number NOT IN (SELECT device_id FROM known) THEN s.number END) AS device_id
FROM source AS s LEFT JOIN known AS k USING (number)
