-- The machine that the trace was recorded on, and when.
-- Grain: one row.
-- materialize: table
-- requires: nsys.TARGET_INFO_SYSTEM_ENV, nsys.META_DATA_CAPTURE, nsys.TARGET_INFO_SESSION_START_TIME
-- columns:
--   hostname       VARCHAR Name of the machine, NULL where the trace does not say.
--   driver_version VARCHAR Version of NVIDIA's driver, such as '580.159.04'.
--   cuda_version   VARCHAR CUDA version that the driver supports, such as '13.0'.
--   started_ns     BIGINT  Start of the recording since 1970, UTC. Unit: ns.
SELECT
    coalesce(
        nullif(max(value) FILTER (name = 'Hostname'), ''),
        (SELECT nullif(max(value), '') FROM nsys.META_DATA_CAPTURE WHERE name = 'DEVICE_DISPLAY_NAME')
    ) AS hostname,
    nullif(max(value) FILTER (name = 'NvDriverVersion'), '') AS driver_version,
    max(try_cast(value AS BIGINT) // 1000 || '.' || try_cast(value AS BIGINT) % 1000 // 10)
        FILTER (name = 'CudaDriverVersion') AS cuda_version,
    (SELECT min(utcEpochNs) FROM nsys.TARGET_INFO_SESSION_START_TIME WHERE utcEpochNs > 0) AS started_ns
FROM nsys.TARGET_INFO_SYSTEM_ENV
