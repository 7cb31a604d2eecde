-- GPUs: those that nsys describes, and those that only appear in GPU work.
-- A GPU of the processor that CUDA cannot use (another maker's, without SMs) and that did nothing is not one of them.
-- Before nsys 2025.1 GPU work has CUDA's number of the GPU, which is not nsys' own if GPUs of other kinds or another order are listed.
-- Where rows of one number disagree (reports of several machines in one), what they disagree about is NULL.
-- Grain: device_id.
-- materialize: table
-- requires: nsys.TARGET_INFO_GPU, nsys.TARGET_INFO_CUDA_GPU, nsys.TARGET_INFO_CUDA_DEVICE, load.device_map, load.gpu_ops
-- columns:
--   device_id                    BIGINT   The GPU's number on the machine.
--   name                         VARCHAR  As CUDA reports it, NULL where nsys did not say.
--   sm_count                     BIGINT   Streaming multiprocessors.
--   available_sm_count           BIGINT   Of those, what CUDA offered to a process: fewer in a MIG slice. NULL where not said.
--   memory_bandwidth_bytes_per_s BIGINT   As nsys states it. Unit: bytes/s.
--   memory_bytes                 BIGINT   Device memory. Unit: bytes.
--   l2_cache_bytes               BIGINT   L2 cache, NULL where not said. Unit: bytes.
--   clock_rate_hz                BIGINT   Boost clock. Unit: Hz.
--   compute_capability           VARCHAR  'major.minor'.
--   has_work                     BOOLEAN  Whether any GPU work was recorded on it.
WITH numbered AS (
    SELECT
        *, CASE
            WHEN EXISTS (FROM load.device_map) THEN id
            WHEN cuDevice >= 0 THEN cuDevice
            WHEN smCount > 0 OR id NOT IN (SELECT cuDevice FROM nsys.TARGET_INFO_GPU WHERE cuDevice IS NOT NULL) THEN id
        END AS device_id
    FROM nsys.TARGET_INFO_GPU
),
listed AS (
    SELECT
        device_id, name, smCount AS sm_count, memoryBandwidth AS memory_bandwidth, totalMemory AS memory_bytes,
        l2CacheSize AS l2_cache_bytes, clockRate AS clock_rate, computeMajor || '.' || computeMinor AS compute_capability,
        isDiscrete = 0 AND coalesce(smCount, 0) = 0 AND coalesce(computeMajor, 0) = 0 AS is_useless
    FROM numbered
    WHERE smCount > 0 OR device_id NOT IN (SELECT deviceId FROM nsys.TARGET_INFO_CUDA_GPU WHERE deviceId IS NOT NULL)
    UNION ALL
    -- nsys before mid-2021 has what CUDA says of a GPU in a table of its own.
    SELECT
        c.deviceId, c.name, c.numMultiprocessors, NULL, NULL, NULL, NULL,
        c.computeCapabilityMajor || '.' || c.computeCapabilityMinor, false
    FROM nsys.TARGET_INFO_CUDA_GPU AS c
    ANTI JOIN numbered AS g ON g.device_id = c.deviceId AND g.smCount > 0
),
-- nullif(a, nullif(a, b)) is a where a = b, else NULL.
described AS (
    SELECT
        device_id, nullif(min(name), nullif(min(name), max(name))) AS name,
        nullif(min(sm_count), nullif(min(sm_count), max(sm_count))) AS sm_count,
        nullif(min(memory_bandwidth), nullif(min(memory_bandwidth), max(memory_bandwidth))) AS memory_bandwidth,
        nullif(min(memory_bytes), nullif(min(memory_bytes), max(memory_bytes))) AS memory_bytes,
        nullif(min(l2_cache_bytes), nullif(min(l2_cache_bytes), max(l2_cache_bytes))) AS l2_cache_bytes,
        nullif(min(clock_rate), nullif(min(clock_rate), max(clock_rate))) AS clock_rate,
        nullif(min(compute_capability), nullif(min(compute_capability), max(compute_capability)))
            AS compute_capability,
        bool_and(coalesce(is_useless, false)) AS is_useless
    FROM listed
    WHERE device_id IS NOT NULL
    GROUP BY device_id
),
available AS (
    SELECT gpuId AS device_id, min(numMultiprocessors) AS available_sm_count
    FROM nsys.TARGET_INFO_CUDA_DEVICE
    WHERE gpuId IS NOT NULL AND numMultiprocessors > 0
    GROUP BY gpuId
),
working AS (
    SELECT DISTINCT device_id, true AS has_work FROM load.gpu_ops WHERE device_id IS NOT NULL
)
SELECT
    device_id, name, nullif(sm_count, 0) AS sm_count, available_sm_count,
    nullif(memory_bandwidth, 0) AS memory_bandwidth_bytes_per_s, nullif(memory_bytes, 0) AS memory_bytes, nullif(l2_cache_bytes, 0) AS l2_cache_bytes,
    nullif(clock_rate, 0) AS clock_rate_hz, compute_capability,
    coalesce(has_work, false) AS has_work
FROM described FULL JOIN working USING (device_id) LEFT JOIN available USING (device_id)
WHERE coalesce(has_work, false) OR NOT is_useless
