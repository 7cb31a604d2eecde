-- GPUs: those that nsys describes, and those that only appear in GPU work.
-- Grain: device_id.
-- materialize: table
-- requires: nsys.TARGET_INFO_GPU, load.gpu_ops
-- columns:
--   device_id                    BIGINT   The GPU's number on the machine.
--   name                         VARCHAR  As CUDA reports it, NULL where nsys did not say.
--   sm_count                     BIGINT   Streaming multiprocessors.
--   memory_bandwidth_bytes_per_s BIGINT   As nsys states it. Unit: bytes/s.
--   memory_bytes                 BIGINT   Device memory. Unit: bytes.
--   clock_rate_hz                BIGINT   Boost clock. Unit: Hz.
--   compute_capability           VARCHAR  'major.minor'.
--   has_work                     BOOLEAN  Whether any GPU work was recorded on it.
WITH described AS (
    SELECT
        id AS device_id, any_value(name) AS name, any_value(smCount) AS sm_count,
        any_value(memoryBandwidth) AS memory_bandwidth_bytes_per_s, any_value(totalMemory) AS memory_bytes,
        any_value(clockRate) AS clock_rate_hz,
        any_value(computeMajor || '.' || computeMinor) AS compute_capability
    FROM nsys.TARGET_INFO_GPU
    WHERE id IS NOT NULL
    GROUP BY id
),
working AS (
    SELECT DISTINCT device_id, true AS has_work FROM load.gpu_ops WHERE device_id IS NOT NULL
)
SELECT
    device_id, name, nullif(sm_count, 0) AS sm_count,
    nullif(memory_bandwidth_bytes_per_s, 0) AS memory_bandwidth_bytes_per_s, nullif(memory_bytes, 0) AS memory_bytes,
    nullif(clock_rate_hz, 0) AS clock_rate_hz, compute_capability, coalesce(has_work, false) AS has_work
FROM described FULL JOIN working USING (device_id)
