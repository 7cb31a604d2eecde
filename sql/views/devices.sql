-- GPUs: those that nsys describes, and those that only appear in GPU work.
-- Grain: device_id.
-- requires: load.devices
-- columns:
--   device_id                    BIGINT   The GPU's number on the machine.
--   name                         VARCHAR  As CUDA reports it, NULL where nsys did not say.
--   sm_count                     BIGINT   Streaming multiprocessors.
--   memory_bandwidth_bytes_per_s BIGINT   As nsys states it. Unit: bytes/s.
--   memory_bytes                 BIGINT   Device memory. Unit: bytes.
--   clock_rate_hz                BIGINT   Boost clock. Unit: Hz.
--   compute_capability           VARCHAR  'major.minor'.
--   has_work                     BOOLEAN  Whether any GPU work was recorded on it.
SELECT
    device_id, name, sm_count, memory_bandwidth_bytes_per_s, memory_bytes, clock_rate_hz, compute_capability, has_work
FROM load.devices
